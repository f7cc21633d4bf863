"""Scrubbing: stored files are read again and compared with their digest, the oldest reading first.

Reads go around the page cache (`agent.storage.verification`): they see what is on the disk, and
what downloads have in memory stays there. They are paced by `scrub_rate` and run at the worker's
I/O priority; not at the idle one, for the worker shares the index with uploads, which would wait
for a lock it holds.

A file is condemned only by one unbroken reading of a file that nobody changed meanwhile, on a disk
that is there and takes writes: a broken controller must not empty a node into its quarantine.
"""

from __future__ import annotations

import errno
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.host.sha256 import Sha256
from agent.host.supervised_thread import Pulse, patiently
from agent.host.throttle import Throttle
from agent.index.database import Database
from agent.integrity.scrub_schedule import (
    COST_OF_OPENING,
    Bookmark,
    Candidate,
    Fingerprint,
    reading_order,
)
from agent.settings import Settings
from agent.storage.attributes import lines_of_its_upload
from agent.storage.quarantine import quarantine
from agent.storage.staging import DiskFailed, DiskFull
from agent.storage.verification import DAMAGE, PIECE, Hashed, mismatch, pieces
from agent.telemetry.health import NodeUnfit, check_marker, check_write
from agent.telemetry.worker_report import ScrubReport
from portside.quantities import GIB
from portside.wire.files import StoredFile

_log = structlog.get_logger()

NOTE = "scrub"
"""The key of the note that holds the bookmark."""

IDLE = 5.0
"""Seconds between two looks for a file that is due: a new one is read soon after its commit."""

SAVE_EVERY = 30.0
SAVE_AFTER = 1 * GIB
"""What a crash costs at most: this many seconds or bytes of reading."""

POSTPONED = 600.0
"""Seconds until a file that could be neither verified nor condemned is tried again."""

BATCH = 64
BATCH_SECONDS = 10.0
"""Verified files are noted down together: a sync for each would be in the way of uploads."""


class _Damaged(Exception):
    """The file isn't what was committed; the message says why."""


class _Undecided(Exception):
    """The file can't be judged now; the message says why."""


class _Stopped(Exception):
    """The worker is to stop; a bookmark is saved."""


@dataclass(slots=True)
class _Reading:
    """One file's reading under way: what was seen of it, how far it is."""

    file: StoredFile
    seen: Fingerprint
    begun_at: int
    offset: int
    digest: Sha256
    resumed: bool

    @classmethod
    def begin(cls, file: Candidate, seen: Fingerprint, bookmark: Bookmark | None) -> _Reading:
        """At the bookmark if there is one in this very file, else at the beginning."""
        if bookmark is None or not bookmark.fits(file, seen):
            return cls(file.stored, seen, _microseconds(), 0, Sha256(), resumed=False)
        _log.info("scrubbing goes on", file_id=bookmark.file_id, offset=bookmark.offset)
        digest = bookmark.digest()
        return cls(file.stored, seen, bookmark.begun_at, bookmark.offset, digest, resumed=True)

    @property
    def left(self) -> int:
        """Bytes that are still to be read."""
        return self.file.size - self.offset

    def bookmark(self) -> Bookmark:
        """The place it has come to."""
        return Bookmark.at(self.file.file_id, self.begun_at, self.offset, self.digest, self.seen)


class Scrubber:
    """Reads one node's files, for as long as the worker runs."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._throttle = Throttle(settings.scrub_rate)
        self._bookmark = Bookmark.parse(database.note(NOTE))
        self._postponed: dict[str, float] = {}
        self._verified: list[tuple[int, str]] = []
        self._reading: _Reading | None = None
        self._files_verified = self._bytes_read = self._damaged = 0

    def run(self, pulse: Pulse) -> None:
        """Read whatever is due until the worker is to stop."""
        while not pulse.stopped:
            files = self._due()
            if not files:
                pulse.wait(IDLE)
                continue
            began = time.monotonic()
            for each in files:
                self._scrub(each, pulse)
                if pulse.stopped or time.monotonic() - began > BATCH_SECONDS:
                    break
            patiently(pulse, self._note_verified)

    def report(self) -> ScrubReport:
        """What was done since the start, and what the index says now."""
        reading = self._reading
        return ScrubReport(
            files_verified=self._files_verified,
            bytes_read=self._bytes_read,
            damaged=self._damaged,
            quarantined=self._quarantined(),
            oldest_unverified_age_seconds=self._oldest_age(),
            current_file=None if reading is None else reading.file.file_id,
            progress=None if reading is None else reading.offset / max(reading.file.size, 1),
        )

    def _due(self) -> list[Candidate]:
        now = time.monotonic()
        self._postponed = {key: at for key, at in self._postponed.items() if at > now}
        oldest = self._candidates(
            "WHERE state = 'COMMITTED' ORDER BY verified_at, file_id LIMIT ?",
            BATCH + len(self._postponed),
        )
        return reading_order(
            self._begun(), oldest, self._postponed, _microseconds(), self._settings.scrub_every
        )

    def _begun(self) -> Candidate | None:
        if self._bookmark is None:
            return None
        found = self._committed(self._bookmark.file_id)
        return found if found is not None and self._bookmark.is_open(found) else None

    def _scrub(self, file: Candidate, pulse: Pulse) -> None:
        """Read one file and act on what was found."""
        bookmark, self._bookmark = self._bookmark, None
        try:
            self._judge(file, bookmark, pulse)
        except _Damaged as damage:
            self._condemn(file.stored, str(damage))
        except _Undecided as reason:
            self._postpone(file.stored, str(reason))
        except _Stopped:
            return
        else:
            self._files_verified += 1
            self._verified.append((_microseconds(), file.stored.file_id))
        finally:
            self._reading = None

    def _judge(self, file: Candidate, bookmark: Bookmark | None, pulse: Pulse) -> None:
        """Return when the file is sound. Raises _Damaged, _Undecided or _Stopped."""
        try:
            self._compare(file, bookmark, pulse)
        except FileNotFoundError:
            self._check_disk("its data is missing")
            raise _Damaged("its data is missing") from None
        except OSError as error:
            said = f"its data can't be read: {error.strerror}"
            if error.errno not in DAMAGE:
                raise _Undecided(said) from None
            self._check_disk(said)
            raise _Damaged(said) from None

    def _compare(self, file: Candidate, bookmark: Bookmark | None, pulse: Pulse) -> None:
        """Compare a file with its digest. Raises _Damaged, _Undecided, _Stopped or OSError."""
        path = self._settings.uploads / file.stored.path
        seen = _fingerprint(path)
        reading = self._reading = _Reading.begin(file, seen, bookmark)
        if seen.size == file.stored.size:
            self._read(reading, path, pulse)
        difference = mismatch(file.stored, Hashed(reading.digest.hexdigest(), seen.size))
        if difference is None:
            return
        if _fingerprint(path) != seen:
            raise _Undecided("it was changed while it was read")
        if not reading.resumed:
            raise _Damaged(difference)
        _log.warning("a resumed reading disagrees: reading it whole", file_id=file.stored.file_id)
        self._compare(file, None, pulse)

    def _read(self, reading: _Reading, path: Path, pulse: Pulse) -> None:
        """Read on to the end, at the pace, with a bookmark now and then. Raises as `_compare`."""
        saved_at, saved_offset = time.monotonic(), reading.offset
        self._wait(max(COST_OF_OPENING, min(PIECE, reading.left)), pulse)
        with closing(pieces(path, reading.offset)) as found:
            for piece in found:
                reading.digest.update(piece)
                reading.offset += len(piece)
                self._bytes_read += len(piece)
                if reading.left <= 0 or len(piece) < PIECE:
                    break
                self._wait(min(PIECE, reading.left), pulse)
                now = time.monotonic()
                overdue = now - saved_at >= SAVE_EVERY
                if pulse.stopped or overdue or reading.offset - saved_offset >= SAVE_AFTER:
                    self._save(reading.bookmark())
                    saved_at, saved_offset = now, reading.offset
                if pulse.stopped:
                    raise _Stopped
        if reading.left > 0:
            # Direct I/O breaks off before a sector that can't be read.
            raise OSError(errno.EIO, "it ends too soon")

    def _wait(self, size: int, pulse: Pulse) -> None:
        pulse.wait(self._throttle.take(size))

    def _check_disk(self, said: str) -> None:
        """Raise _Undecided when the whole disk is at fault."""
        try:
            check_marker(self._settings)
            check_write(self._settings)
        except NodeUnfit as unfit:
            raise _Undecided(f"{said}, but the disk is unfit: {unfit}") from None

    def _condemn(self, file: StoredFile, reason: str) -> None:
        known = self._committed(file.file_id)
        if known is None or known.stored != file:
            # Deleted or replaced meanwhile: the row is changed before the data is.
            return
        with lines_of_its_upload(self._settings.uploads / file.path):
            _log.critical(
                "stored file is damaged", file_id=file.file_id, path=str(file.path), reason=reason
            )
            try:
                quarantine(self._settings, self._database, file.file_id, reason)
            except (DiskFull, DiskFailed, sqlite3.Error) as error:
                self._postpone(file, f"it is damaged, and not in quarantine yet: {error}")
        # Last: a report in between would count it without saying where it is.
        self._damaged += 1

    def _postpone(self, file: StoredFile, reason: str) -> None:
        """Leave a file for later, unless it is gone anyway."""
        if self._committed(file.file_id) is not None:
            _log.warning("file is not judged", file_id=file.file_id, reason=reason)
            self._postponed[file.file_id] = time.monotonic() + POSTPONED

    def _save(self, bookmark: Bookmark) -> None:
        try:
            self._database.take_note(NOTE, bookmark.model_dump_json())
        except sqlite3.OperationalError as error:
            # A full or busy disk costs a repeated reading after a restart, nothing else.
            _log.warning("bookmark not saved", error=str(error))

    def _note_verified(self) -> None:
        if not self._verified:
            return
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE files SET verified_at = ? WHERE file_id = ? AND state = 'COMMITTED'",
                self._verified,
            )
        self._verified = []

    def _committed(self, file_id: str) -> Candidate | None:
        found = self._candidates("WHERE file_id = ? AND state = 'COMMITTED'", file_id)
        return found[0] if found else None

    def _candidates(self, condition: str, parameter: int | str) -> list[Candidate]:
        rows = self._database.rows(
            f"SELECT stored, verified_at FROM files {condition}",  # noqa: S608 (our own two)
            (parameter,),
        )
        return [Candidate(StoredFile.model_validate_json(text), at) for text, at in rows]

    def _oldest_age(self) -> float:
        row = self._database.row(_OLDEST)
        assert row is not None  # noqa: S101 (a query of one expression has one row)
        return 0.0 if row[0] is None else max(0.0, time.time() - row[0] / 1_000_000)

    def _quarantined(self) -> int:
        query = "SELECT 1 FROM files WHERE state = 'QUARANTINED' AND state != 'COMMITTED'"
        return len(self._database.rows(query))


_OLDEST = (
    "SELECT coalesce((SELECT min(committed_at) FROM files WHERE state = 'COMMITTED' "
    "AND verified_at IS NULL), (SELECT verified_at FROM files WHERE state = 'COMMITTED' "
    "ORDER BY verified_at, file_id LIMIT 1))"
)
"""When the file whose reading is longest ago was read, or committed if it never was."""


def _fingerprint(path: Path) -> Fingerprint:
    found = path.lstat()
    return Fingerprint(found.st_ino, found.st_size, found.st_mtime_ns)


def _microseconds() -> int:
    return time.time_ns() // 1000
