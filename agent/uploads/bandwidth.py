"""How fast uploads may come in: the fair shares of one agent process, asked by its threads.

Whoever receives asks for a piece before it reads one, and tells what came. The waiting is the
reader's own (`agent.incoming.receiving`), in steps so short that nothing on the way takes the agent
for dead. Where the cluster file sets no bound no request has a pace, and nobody asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from agent.uploads.fair_share import FairShare, Lane
from agent.uploads.shares import Kind, Sender
from portside.cluster.bandwidth import BandwidthLimits
from portside.wire.status import BandwidthStatus

MOST_WAIT = 0.05
"""Seconds after which it is asked again: others have ended by then, and left more."""

_LEAST_WAIT = 0.001

_COPIES = ("copies", "")
"""All copies that other nodes send are one party: an upload that waits for its copy on another node
gets on, and however many nodes send, they have no more than one owner has."""


class Bandwidth:
    """What uploads and copies share of a node's bandwidth. Thread-safe."""

    def __init__(
        self, limits: BandwidthLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.lock = threading.Lock()
        self.shares = FairShare(limits)
        self.waiting = 0
        self.waited = 0.0
        """Seconds that requests have waited, since the start."""

    def pace(self, key: str, kind: Kind, sender: Sender | None) -> _Pace | None:
        """Of a request under `key`; None where it brings no bytes, or nothing is bounded."""
        if kind == "waiting" or not self.limits.bounds_uploads:
            return None
        if kind == "copy":
            return _Pace(self, _COPIES, key, is_copy=True)
        owner, token = ("", key) if sender is None else (sender.owner, sender.token)
        return _Pace(self, ("owner", owner), token, is_copy=False)

    def status(self) -> BandwidthStatus:
        """As upload-status tells it."""
        with self.lock:
            waiting, waited = self.waiting, round(self.waited, 1)
        return BandwidthStatus(**self.limits.model_dump(), waiting=waiting, waited_seconds=waited)


class _Pace:
    """One request's (`agent.incoming.receiving.Pace`). Its thread alone asks."""

    def __init__(
        self, bandwidth: Bandwidth, party: Hashable, upload: Hashable, *, is_copy: bool
    ) -> None:
        self._bandwidth = bandwidth
        self._party = party
        self._upload = upload
        self._is_copy = is_copy
        self._lane: Lane | None = None
        self._waits_since: float | None = None

    def piece(self, most: int) -> tuple[int, float]:
        """See Pace."""
        bandwidth = self._bandwidth
        with bandwidth.lock:
            now = bandwidth.clock()
            piece, seconds = bandwidth.shares.piece(now, self._party, self._entered(), most)
            if piece:
                self._waits_no_more(now)
            elif self._waits_since is None:
                self._waits_since = now
                bandwidth.waiting += 1
        return piece, min(MOST_WAIT, max(_LEAST_WAIT, seconds))

    def came(self, count: int) -> None:
        """See Pace."""
        if count:
            with self._bandwidth.lock:
                self._bandwidth.shares.came(self._entered(), count)

    def leave(self) -> None:
        """See Pace."""
        with self._bandwidth.lock:
            self._waits_no_more(self._bandwidth.clock())
            if self._lane is not None:
                self._bandwidth.shares.leave(self._party, self._lane)
                self._lane = None

    def _entered(self) -> Lane:
        # Not before there is a byte: a request without any takes over nobody's lane.
        if self._lane is None:
            self._lane = self._bandwidth.shares.enter(
                self._party, self._upload, is_copy=self._is_copy
            )
        return self._lane

    def _waits_no_more(self, now: float) -> None:
        if self._waits_since is not None:
            self._bandwidth.waiting -= 1
            self._bandwidth.waited += now - self._waits_since
            self._waits_since = None
