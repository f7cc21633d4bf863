"""The cold tier at work: threads of the worker that carry out its rows, the longest due first.

What stops every file (no answer, wrong credentials, no bucket) stops the tier: it pauses, longer
each time, and no file is given up for it, however long it takes. What is one file's own fault
counts as an attempt; after twenty it is on the list that `portside-agent deliveries` shows.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from agent.cold.backup import Backup, Damaged, Ended, Lane, Stopped
from agent.cold.bucket import ColdStore
from agent.cold.meanings import ColdError, StoreUnavailable, UploadGone
from agent.cold.queue import Backlog, ColdQueue
from agent.host.supervised_thread import Pulse, patiently
from agent.index.database import Database
from agent.outbox.cold_orders import BACKUP, CHANGE, KINDS, MARK
from agent.outbox.deliveries import Outbox, Row
from agent.outbox.events import SCHEDULE, Outcome, after
from agent.outbox.retry import Following
from agent.settings import Cold, Settings
from agent.storage.attributes import lines_of_its_upload
from agent.telemetry.clock import NodeClock
from agent.telemetry.worker_report import ColdReport
from portside.backoff import Backoff, spread
from portside.tracing import current
from portside.tracing.spans import Kind, step

_log = structlog.get_logger()

THREADS = 2
"""Files at once: a small one doesn't wait for a large one."""

_IDLE = 1.0
"""Seconds between two looks for a row that is due."""

_SWEEP_EVERY = 3600.0
_PAUSES = Backoff(first=2.0, longest=300.0, spread=(0.5, 1.0))
"""How long the tier pauses when nothing can be stored."""

_ELSEWHERE = 600.0
"""Seconds, or a share of them, after which a file is looked at again that another node uploads."""

_COUNTING_SHARE = 100
"""Counting a long backlog may take a hundredth of the time."""


class ColdTier:
    """Backs up files. `run` is what each of its threads does, `sweep` what one more does."""

    def __init__(
        self, settings: Settings, cold: Cold, database: Database, clock: NodeClock
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._cold = cold
        self._outbox = Outbox(database)
        self._queue = ColdQueue(database, cold)
        self._lane = Lane(cold.rate)
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._running: dict[int, str] = {}
        self._backup: Backup | None = None
        self._unreachable = ""
        self._pauses = 0
        self._resume_at = 0.0
        self._stored = self._failed = 0
        self._backlog = Backlog()
        self._count_at = 0.0

    def run(self, pulse: Pulse) -> None:
        """Carry out whatever is due until the worker is to stop."""
        while not pulse.stopped:
            row = self._take()
            if row is None:
                pulse.wait(_IDLE)
                continue
            try:
                with (
                    lines_of_its_upload(self._settings.uploads / self._path_of(row)),
                    step(f"cold {row.kind}", Kind.CLIENT, current.kept(row.trace)),
                ):
                    self._carry_out(row, pulse)
            finally:
                with self._lock:
                    del self._running[row.number]

    def sweep(self, pulse: Pulse) -> None:
        """Now and then: order what is missing, end what was abandoned, forget what is gone."""
        while not pulse.stopped:
            try:
                ordered = self._queue.order_missing(pulse.beat)
                if ordered:
                    _log.info("cold backups ordered", files=ordered)
                told = self._queue.order_unsaid(pulse.beat)
                if told:
                    _log.info("the cold tier is told of ends and holds", files=told)
                self._queue.forget_missing(pulse.beat)
                for file_id in self._queue.uploads_without_row():
                    pulse.beat()
                    self._connected().give_up(file_id)
            except (ColdError, sqlite3.OperationalError) as error:
                _log.warning("cold sweep was cut short", error=str(error))
            pulse.wait(_SWEEP_EVERY)

    def report(self) -> ColdReport:
        """What was done since the start, and what there is to do."""
        now = time.monotonic()
        if now >= self._count_at:
            self._backlog = self._queue.backlog()
            self._count_at = now + _COUNTING_SHARE * (time.monotonic() - now)
        oldest = self._backlog.oldest
        with self._lock:
            return ColdReport(
                waiting=self._backlog.waiting,
                waiting_bytes=self._backlog.waiting_bytes,
                oldest_age_seconds=0.0 if oldest is None else max(0.0, time.time() - oldest / 1e6),
                dead=self._backlog.dead,
                stored=self._stored,
                failed=self._failed,
                bytes_sent=self._lane.sent,
                unreachable=self._unreachable,
            )

    def _take(self) -> Row | None:
        """A due row, for this thread alone; none while the tier pauses."""
        with self._lock:
            if time.monotonic() < self._resume_at:
                return None
            # An object that goes too early is gone: not by a clock that may be wrong.
            kinds = KINDS if self._clock.is_believed else (BACKUP, MARK, CHANGE)
            row = self._outbox.due(int(time.time()), list(self._running), (), kinds)
            if row is not None:
                self._running[row.number] = row.target
            return row

    def _path_of(self, row: Row) -> str:
        found = self._outbox.file_of(row)
        return "" if found is None else str(found[1].path)

    def _carry_out(self, row: Row, pulse: Pulse) -> None:
        try:
            act = {BACKUP: self._back_up, CHANGE: self._say}.get(row.kind, self._tidy)
            act(row, pulse)
        except Stopped:
            return
        except (ColdError, OSError, Damaged, sqlite3.OperationalError) as error:
            if not pulse.stopped:
                self._failure(row, error, pulse)
            return
        with self._lock:
            self._pauses, self._unreachable = 0, ""

    def _back_up(self, row: Row, pulse: Pulse) -> None:
        found = self._outbox.file_of(row)
        if found is None or found[0] in ("DELETING", "DELETED", "ENDED"):
            self._connected().give_up(row.file_id)
            patiently(pulse, lambda: self._outbox.remove([row.number]))
            return
        state, stored = found
        if row.target != self._cold.target:
            self._settle(row, Outcome("hopeless", "the settings have another cold tier"), pulse)
            return
        if state == "PENDING":
            self._put_off(row, _IDLE, "its commit is under way", pulse)
            return
        if state != "COMMITTED":
            self._settle(row, Outcome("hopeless", "it is damaged and in quarantine"), pulse)
            return
        began = time.monotonic()
        ended = self._connected().back_up(stored, pulse)
        if ended.result == "hopeless":
            self._settle(row, Outcome("hopeless", ended.error), pulse)
        elif ended.result == "elsewhere":
            self._put_off(row, spread(_ELSEWHERE, (0.5, 1.0)), ended.error, pulse)
        else:
            now = int(time.time())
            patiently(pulse, lambda: self._queue.stored(row.file_id, ended.address, now))
            self._count(ended)
            _log.info(
                "file is in the cold tier",
                file_id=row.file_id,
                path=str(stored.path),
                size=stored.size,
                sent=ended.result == "stored",
                seconds=round(time.monotonic() - began, 3),
            )

    def _say(self, row: Row, pulse: Pulse) -> None:
        """Have the tier know when a file ends from now on and whether it is held."""
        found = self._outbox.file_of(row)
        if found is None or found[0] == "DELETED" or row.target != self._cold.target:
            patiently(pulse, lambda: self._outbox.remove([row.number]))
            return
        stored = found[1]
        self._connected().say(stored)
        patiently(pulse, lambda: self._queue.said(row.number, stored))

    def _tidy(self, row: Row, pulse: Pulse) -> None:
        """What is left to do about a deleted file's object."""
        backup = self._connected()
        act: Callable[[str, str], None] = backup.mark_deleted if row.kind == MARK else backup.remove
        act(row.file_id, row.target)
        patiently(pulse, lambda: self._outbox.remove([row.number]))

    def _count(self, ended: Ended) -> None:
        with self._lock:
            self._stored += ended.result == "stored"

    def _connected(self) -> Backup:
        """The bucket, opened at its first use. Raises StoreUnavailable without credentials."""
        with self._making:
            if self._backup is None:
                store = ColdStore(self._cold)
                self._backup = Backup(self._settings, self._cold, self._queue, store, self._lane)
            return self._backup

    def _failure(self, row: Row, error: Exception, pulse: Pulse) -> None:
        if isinstance(error, StoreUnavailable):
            self._pause(str(error))
            # Never the last attempt: the file has nothing to do with it.
            attempt = min(row.attempts + 1, SCHEDULE.most - 1)
            seconds = SCHEDULE.backoff.pause(attempt)
            self._put_off(replace(row, attempts=attempt), seconds, str(error), pulse)
            return
        if isinstance(error, UploadGone):
            patiently(pulse, lambda: self._queue.forget_upload(row.file_id))
        self._settle(row, Outcome("failed", f"{error}"), pulse)

    def _pause(self, error: str) -> None:
        """Leave the service alone for a while, all threads together."""
        with self._lock:
            seconds = _PAUSES.pause(self._pauses + 1)
            if time.monotonic() >= self._resume_at:
                self._pauses += 1
                self._resume_at = time.monotonic() + seconds
            self._unreachable = error
            self._failed += 1
        # The key may be mended while the worker runs.
        self._backup = None
        _log.warning("cold tier pauses", error=error, seconds=round(seconds, 1))

    def _settle(self, row: Row, outcome: Outcome, pulse: Pulse) -> None:
        """Note down an attempt that failed."""
        following = after(outcome, row.attempts + 1, int(time.time()), random.random())  # noqa: S311
        assert following is not None  # noqa: S101 (no outcome here is a success)
        with self._lock:
            self._failed += 1
        _log.warning(
            "cold backup failed",
            file_id=row.file_id,
            kind=row.kind,
            error=following.error,
            attempt=following.attempts,
            dead=following.state == "DEAD",
        )
        patiently(pulse, lambda: self._outbox.put_off(row.number, following))

    def _put_off(self, row: Row, seconds: float, reason: str, pulse: Pulse) -> None:
        """Come again later, without its counting against the file."""
        due = int(time.time() + max(1.0, seconds))
        following = Following("WAITING", row.attempts, due, reason)
        patiently(pulse, lambda: self._outbox.put_off(row.number, following))
