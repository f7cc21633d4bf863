"""Two machines that pass for one node: a disk that was copied brings the node's key along.

Each heartbeat says which run of the worker sent it. A worker that is started anew begins another
run, and the run before never comes back; when one does, two machines hold the key. Nobody can say
which of them is the node that the catalogue means, and files of the one aren't on the other: both
are refused until one has been silent for a while.

What is remembered is one process's and begins anew with it: a heartbeat or two later each knows.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

_log = structlog.get_logger()

REMEMBERED = 8
"""Runs of a node, so that three machines are noticed as well as two."""

SETTLED_AFTER = 2.5
"""Heartbeats that a new run has to be alone for before its inventory counts."""

ALONE_AFTER = 4.0
"""Heartbeats that one of two machines has to be silent for before the other is heard again."""


@dataclass(slots=True)
class _Node:
    runs: deque[str] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    since: datetime | None = None
    """When the latest run was first heard; None for the first of all."""
    twice_at: datetime | None = None
    """When a run came back last that another had followed."""


class Runs:
    """Which run of its worker each node's heartbeats come from. Thread-safe."""

    def __init__(self, heartbeat_every: float) -> None:
        self._settled = timedelta(seconds=SETTLED_AFTER * heartbeat_every)
        self._alone = timedelta(seconds=ALONE_AFTER * heartbeat_every)
        self._lock = threading.Lock()
        self._nodes: dict[str, _Node] = {}

    def heard(self, node_id: str, run: str | None, now: datetime) -> None:
        """A heartbeat came from this run; None: of a release that doesn't say."""
        if run is None:
            return
        with self._lock:
            node = self._nodes.setdefault(node_id, _Node())
            if node.runs and node.runs[-1] == run:
                return
            if run in node.runs:
                node.runs.remove(run)
                if not self._is_twice(node, now):
                    _log.error("two machines are one node", node=node_id)
                node.twice_at = now
            if node.runs:
                node.since = now
            node.runs.append(run)

    def is_twice(self, node_id: str, now: datetime) -> bool:
        """Whether two machines sent heartbeats as this node just now."""
        with self._lock:
            node = self._nodes.get(node_id)
            return node is not None and self._is_twice(node, now)

    def is_settled(self, node_id: str, now: datetime) -> bool:
        """Whether the node's latest run is the only one, for all that can be known by now."""
        with self._lock:
            node = self._nodes.get(node_id)
            if node is None:
                return True
            if self._is_twice(node, now):
                return False
            return node.since is None or not _is_within(self._settled, node.since, now)

    def _is_twice(self, node: _Node, now: datetime) -> bool:
        return node.twice_at is not None and _is_within(self._alone, node.twice_at, now)


def _is_within(span: timedelta, moment: datetime, now: datetime) -> bool:
    """Whether a moment is so short ago. One of the future was noted by a clock that was wrong."""
    return timedelta(0) <= now - moment < span
