"""Files that wait for ClamAV: each node looks at its own copies, and goes by what it finds itself.

A clean copy is served from then on, an infected one stays held for good, until somebody says
otherwise. Nothing else releases a file: not an error, a timeout or an answer that can't be read.
Then it waits, for as long as it takes: a row of the outbox stays until there is a verdict. While
clamd is away, or can't be relied on (`agent.hooks.clamd.examine`), no file is tried at all.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import structlog

from agent.cluster.roster import Rosters
from agent.hooks import clamd
from agent.hooks.clamd import ClamdAway, NoVerdict, Verdict
from agent.host.supervised_thread import Pulse, patiently
from agent.index.database import Database
from agent.index.files import Delivery
from agent.outbox.deliveries import Outbox, Row
from agent.outbox.events import SCAN, UPLOADED, VERDICT, deliveries_for
from agent.outbox.retry import Schedule
from agent.settings import Settings
from agent.storage.attributes import lines_of_its_upload
from agent.storage.holds import awaits_scan, settle_scan
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.worker_report import ScanReport
from portside.backoff import Backoff
from portside.tracing import current
from portside.tracing.spans import step
from portside.wire.files import SCANNER, HoldNote, StoredFile

_log = structlog.get_logger()

THREADS = 2
"""Files at once: a large one doesn't keep the small ones waiting, and two keep a core busy."""

IDLE = 1.0
"""Seconds between two looks for a file that waits: its uploader does, too."""

SCHEDULE = Schedule(Backoff(first=10, longest=3600), most=1_000_000)
"""Seconds within which a file without a verdict is tried again. It is never given up."""

PAUSES = Backoff(first=2, longest=60)
"""Seconds between two looks at whether clamd is back."""

EXAMINED_FOR = 600.0
"""Seconds after which it is examined again: its settings may have been changed."""

SWEEP_EVERY = 3600.0
"""Seconds between two looks for files that wait and have no row: an index was built anew."""

_BATCH = 5000
"""Rows of files that are looked at in one go: some hundredths of a second."""


class Scanner:
    """Scans one node's files. `run` is what each of its threads does."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._outbox = Outbox(database)
        self._rosters = Rosters(settings)
        self._lock = threading.Lock()
        self._running: set[int] = set()
        self._examining = threading.Lock()
        self._trouble = ""
        self._failures = 0
        self._again_at = self._examined_until = self._sweep_at = 0.0
        self._counts: Counter[str] = Counter()

    def run(self, pulse: Pulse) -> None:
        """Scan whatever waits until the worker is to stop."""
        while not pulse.stopped:
            if self._is_to_sweep():
                self._sweep(pulse)
            row = self._take() if self._is_there(pulse) else None
            if row is None:
                pulse.wait(IDLE)
                continue
            try:
                with step("scan", of=current.kept(row.trace)):
                    self._look_at(row, pulse)
            finally:
                with self._lock:
                    self._running.discard(row.number)

    def report(self) -> ScanReport:
        """What was found since the start, and what there is to do."""
        waiting, _ = self._outbox.counts((SCAN,))
        oldest = self._database.row(
            "SELECT min(files.committed_at) FROM deliveries JOIN files USING (file_id) "
            "WHERE deliveries.kind = ? AND files.state = 'COMMITTED'",
            (SCAN,),
        )
        since = None if oldest is None or oldest[0] is None else oldest[0] / 1_000_000
        with self._lock:
            return ScanReport(
                waiting=waiting,
                oldest_age_seconds=0.0 if since is None else max(0.0, time.time() - since),
                clean=self._counts["clean"],
                infected=self._counts["infected"],
                unscannable=self._counts["unscannable"],
                failed=self._counts["failed"],
                unreachable=self._trouble,
            )

    def _is_to_sweep(self) -> bool:
        with self._lock:
            due = time.monotonic() >= self._sweep_at
            if due:
                self._sweep_at = time.monotonic() + SWEEP_EVERY
            return due

    def _sweep(self, pulse: Pulse) -> None:
        try:
            sweep(self._database, self._settings.scanned, pulse)
        except sqlite3.OperationalError as error:
            # A full disk: what has no row yet gets it another time.
            _log.error("files that wait for the scanner were not looked for", error=str(error))

    def _is_there(self, pulse: Pulse) -> bool:
        """Whether clamd answers and its word counts, found out anew now and then."""
        with self._lock:
            if time.monotonic() < self._again_at:
                return False
            if time.monotonic() < self._examined_until:
                return True
        # Another thread that is at it tells the result.
        if not self._examining.acquire(blocking=False):
            return False
        try:
            clamd.examine(self._settings.scanner, _going(pulse))
        except (ClamdAway, NoVerdict) as error:
            if not pulse.stopped:
                self._is_away(str(error))
            return False
        finally:
            self._examining.release()
        with self._lock:
            if self._trouble:
                _log.info("scanner answers again", scanner=str(self._settings.scanner))
            self._trouble, self._failures = "", 0
            self._examined_until = time.monotonic() + EXAMINED_FOR
        return True

    def _is_away(self, why: str) -> None:
        with self._lock:
            if self._trouble != why:
                _log.warning("scanner is away: files wait for it", error=why)
            self._trouble = why
            self._failures += 1
            pause = PAUSES.pause(self._failures, random.random())  # noqa: S311 (jitter)
            self._again_at = time.monotonic() + pause
            self._examined_until = 0.0

    def _take(self) -> Row | None:
        """A file that is due, for this thread alone."""
        with self._lock:
            row = self._outbox.due(int(time.time()), list(self._running), (), (SCAN,))
            if row is not None:
                self._running.add(row.number)
            return row

    def _look_at(self, row: Row, pulse: Pulse) -> None:
        found = self._outbox.file_of(row)
        if found is None or found[0] in ("DELETING", "DELETED") or not awaits_scan(found[1]):
            # Deleted, or somebody has said already what is to become of it.
            patiently(pulse, lambda: self._outbox.remove([row.number]))
            return
        state, stored = found
        with lines_of_its_upload(self._settings.uploads / stored.path):
            try:
                if state != "COMMITTED":
                    raise NoVerdict("it is out of service")
                verdict = self._verdict(stored, pulse)
                self._settle(row, stored, verdict)
            except (NoVerdict, DiskFull, DiskFailed, sqlite3.OperationalError) as error:
                if not pulse.stopped:
                    self._put_off(row, str(error), pulse)
            except ClamdAway as error:
                self._is_away(str(error))

    def _verdict(self, stored: StoredFile, pulse: Pulse) -> Verdict:
        """What clamd says of this very content. Raises ClamdAway or NoVerdict."""
        if stored.size > clamd.LARGEST:
            return Verdict("unscannable", "larger than ClamAV can look at: 2 GiB")
        digest = hashlib.sha256()

        def pieces() -> Iterator[bytes]:
            try:
                with (self._settings.uploads / stored.path).open("rb", buffering=0) as file:
                    while piece := file.read(clamd.PIECE):
                        digest.update(piece)
                        yield piece
            except OSError as error:
                raise NoVerdict(f"it can't be read: {error.strerror}") from None

        verdict = clamd.scan(self._settings.scanner, pieces(), _going(pulse))
        if verdict.scan == "clean" and digest.hexdigest() != stored.sha256:
            raise NoVerdict("its bytes are not those that were stored: `portside-agent fsck`")
        return verdict

    def _settle(self, row: Row, stored: StoredFile, verdict: Verdict) -> None:
        released = verdict.scan == "clean" or (
            verdict.scan == "unscannable"
            and stored.namespace in self._settings.unscannable_released
        )
        note = HoldNote(reason=verdict.found, by=SCANNER, at=datetime.now(UTC), scan=verdict.scan)
        told = []
        if row.target == UPLOADED:
            told = deliveries_for(self._settings.hooks, stored.namespace, "checked")
        if self._rosters.current().control_url is not None:
            told.append(Delivery(VERDICT, "control"))
        settled = settle_scan(
            self._settings, self._database, stored.file_id, held=not released, note=note, told=told
        )
        if settled is None:
            return
        with self._lock:
            self._counts[verdict.scan] += 1
        _log.info("file scanned", file_id=stored.file_id, scan=verdict.scan, found=verdict.found)

    def _put_off(self, row: Row, why: str, pulse: Pulse) -> None:
        chance = random.random()  # noqa: S311 (jitter)
        following = SCHEDULE.following(row.attempts + 1, why, int(time.time()), chance)
        with self._lock:
            self._counts["failed"] += 1
        _log.warning("file not scanned", file_id=row.file_id, error=why, attempt=row.attempts + 1)
        patiently(pulse, lambda: self._outbox.put_off(row.number, following))


def sweep(database: Database, namespaces: tuple[str, ...], pulse: Pulse) -> int:
    """Give a row to every file that waits for the scanner and has none; returns how many.

    By the files themselves: rows are lost with an index, and a namespace may be scanned only now.
    """
    last, made = "", 0
    while not pulse.stopped:
        rows = database.rows(
            "SELECT file_id, namespace, stored FROM files WHERE state = 'COMMITTED' "
            "AND file_id > ? ORDER BY file_id LIMIT ?",
            (last, _BATCH),
        )
        if not rows:
            break
        last = rows[-1][0]
        # Most are none: told by their text before they are read.
        waiting = [
            (file_id, SCAN, UPLOADED)
            for file_id, namespace, text in rows
            if namespace in namespaces
            and '"scan":"waiting"' in text
            and awaits_scan(StoredFile.model_validate_json(text))
        ]
        if waiting:
            with database.transaction() as connection:
                made += connection.executemany(
                    "INSERT INTO deliveries (file_id, kind, target, state, due) "
                    "SELECT ?1, ?2, ?3, 'WAITING', 0 WHERE NOT EXISTS "
                    "(SELECT 1 FROM deliveries WHERE file_id = ?1 AND kind = ?2)",
                    waiting,
                ).rowcount
        pulse.beat()
    if made:
        _log.info("files wait for the scanner", files=made)
    return made


def _going(pulse: Pulse) -> Callable[[], bool]:
    def going() -> bool:
        pulse.beat()
        return not pulse.stopped

    return going
