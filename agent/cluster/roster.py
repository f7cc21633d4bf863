"""Who else is in the cluster: the roster that the deploy wrote, or a newer one from a heartbeat.

Both are files, so that the web side and the worker see the same: the one with the higher version
counts. A node without a roster knows nobody: it takes no replicas and makes none.
"""

from __future__ import annotations

import threading
from pathlib import Path

import structlog
from pydantic import ValidationError

from agent.settings import Settings
from portside import durable_file
from portside.wire import paths
from portside.wire.heartbeat import Roster

_log = structlog.get_logger()


class Rosters:
    """The roster in force. Thread-safe; files are read again when they change."""

    def __init__(self, settings: Settings) -> None:
        self._base = settings.public_base_url
        self._deployed = settings.roster
        self._received = settings.received_roster
        self._lock = threading.Lock()
        self._seen: tuple[object, object] | None = None
        self._roster = Roster(cluster="")

    def current(self) -> Roster:
        """The newest roster this node has."""
        with self._lock:
            seen = (_stamp(self._deployed), _stamp(self._received))
            if seen != self._seen:
                found = [read(path) for path in (self._deployed, self._received)]
                known = [roster for roster in found if roster is not None]
                self._roster = max(known, key=lambda each: each.version, default=self._roster)
                self._seen = seen
            return self._roster

    def lasting_url(self, file_id: str, name: str) -> str:
        """The URL that a file keeps: the control plane's, or where there is none this node's."""
        return paths.lasting_url(self.current().control_url or self._base, file_id, name)

    def receive(self, roster: Roster) -> None:
        """Keep a newer roster that came with a heartbeat's answer. Raises OSError."""
        current = self.current()
        if roster.version <= current.version:
            return
        if current.cluster not in ("", roster.cluster):
            _log.error("roster is another cluster's", cluster=roster.cluster, own=current.cluster)
            return
        content = roster.model_dump_json(exclude_none=True).encode()
        durable_file.replace(self._received, content, 0o644)
        _log.info("roster received", version=roster.version, nodes=len(roster.nodes))


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read(path: Path) -> Roster | None:
    """The roster in a file; None where there is none that can be used."""
    try:
        return Roster.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        # The other one, or the one before, is better than none.
        _log.error("roster can't be used", path=str(path), error=str(error))
        return None
