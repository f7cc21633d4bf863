"""The worker's part in how long files live: those whose moment has come end, and in the end go.

Serving stops by the clock, some seconds after the moment (EVERY). A clock may be wrong, so that is
no more than a move which can be taken back: files that a clock ended which was ahead come back by
themselves. What nobody can bring back, the removal of their bytes, waits until the grace has been
lived through as well: counted in seconds in which this worker ran and its clock was believed
(`agent.telemetry.clock`). Where there is a control plane it is the one that orders deletions; the
node goes by itself only when no order has come for PATIENCE more.

However many end at once, uploads go first: batches are small, and between two of them is a pause.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

import structlog

from agent.cluster.roster import Rosters
from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.settings import Settings
from agent.storage import ending
from agent.storage.deletion import delete
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.clock import NodeClock
from agent.telemetry.health import NodeUnfit, check_marker
from portside.cluster.lifetimes import has_ended
from portside.tokens import LEEWAY
from portside.wire.files import StoredFile

_log = structlog.get_logger()

EVERY = 5.0
"""Seconds between two looks: for so long an ended file may still be served by its path."""

BATCH = 50
"""Files of one batch: some tenths of a second on a hard disk, in which an upload's commit waits for
one file of them at most."""

REST = 2.0
"""Times as long as it took is the pause behind each batch: a third of the time is used at most."""

PATIENCE = 86400
"""Seconds beyond the grace for which a control plane's order is waited for."""

_NOTE_EVERY = 60.0
"""Seconds between two notes of how long the node has lived."""

_PAUSE = 30.0
"""Seconds before something is tried again that the disk or the index didn't take."""

LIVED = "lived"
"""The note that says for how many seconds this node has lived (`agent.index.schema`)."""


class LifetimeRounds:
    """Ends one node's files. `run` is one thread's work."""

    def __init__(self, settings: Settings, database: Database, clock: NodeClock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._rosters = Rosters(settings)
        self._counted_at: float | None = None

    def run(self, pulse: Pulse) -> None:
        """Look again and again until the worker is to stop."""
        while not pulse.stopped:
            try:
                check_marker(self._settings)
                self.look(pulse)
            except (OSError, NodeUnfit, DiskFull, DiskFailed, sqlite3.Error) as error:
                _log.error("files not ended, trying again", error=str(error))
                pulse.wait(_PAUSE)
            pulse.wait(EVERY)

    def look(self, pulse: Pulse) -> None:
        """End what is due, and remove what nobody took back. Raises as `agent.storage.ending`."""
        while ending.finish_endings(self._settings, self._database) and not pulse.stopped:
            pulse.beat()
        if not self._clock.is_believed:
            self._counted_at = None
            return
        lived = self._lived()
        self._in_batches(pulse, self._take_back)
        self._in_batches(pulse, self._end)
        self._in_batches(pulse, lambda: self._remove(lived, pulse))

    def _in_batches(self, pulse: Pulse, work: Callable[[], int]) -> None:
        """Batches until one isn't full, with a pause behind each that was."""
        while not pulse.stopped:
            began = time.monotonic()
            count = work()
            pulse.beat()
            if count < BATCH:
                return
            pulse.wait(REST * (time.monotonic() - began))

    def _take_back(self) -> int:
        now = int(time.time()) + LEEWAY
        return ending.take_back_early(self._settings, self._database, now, BATCH)

    def _end(self) -> int:
        return ending.end_due(self._settings, self._database, int(time.time()), BATCH)

    def _remove(self, lived: int, pulse: Pulse) -> int:
        grace = self._settings.lifetimes.grace
        waits = 0 if self._rosters.current().control_url is None else PATIENCE
        file_ids = ending.grace_is_over(self._database, lived - grace - waits, BATCH)
        removed = 0
        for file_id in file_ids:
            if pulse.stopped:
                break
            if self._is_over(file_id, grace):
                removed += delete(self._settings, self._database, file_id)
            pulse.beat()
        return removed

    def _is_over(self, file_id: str, grace: int) -> bool:
        """By the clock too: one that was set back meanwhile gives the file its time."""
        row = self._database.row("SELECT stored FROM files WHERE file_id = ?", (file_id,))
        if row is None:
            return False
        ends = StoredFile.model_validate_json(row[0]).expires_at
        return has_ended(ends, time.time() - grace)

    def _lived(self) -> int:
        """Seconds that the node has lived, as last noted."""
        noted = int(self._database.note(LIVED) or 0)
        now = time.monotonic()
        if self._counted_at is None:
            self._counted_at = now
        elapsed = int(now - self._counted_at)
        if elapsed >= _NOTE_EVERY:
            noted += elapsed
            self._counted_at += elapsed
            self._database.take_note(LIVED, str(noted))
        return noted
