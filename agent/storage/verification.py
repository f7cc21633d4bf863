"""Reading a stored file again: is it still what was received?

Read with O_DIRECT where the filesystem knows it, for what the page cache holds says nothing about
the disk; through the cache elsewhere, and then out of it again. One buffer of fixed size.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.index.database import Database
from agent.index.files import microseconds
from agent.problems import ProblemError
from agent.settings import Settings
from agent.storage.quarantine import quarantine
from agent.storage.staging import DiskFailed, translated
from agent.telemetry.health import NodeUnfit, check_marker, check_write
from portside.wire.files import StoredFile, Verification

PIECE = 1024 * 1024
"""Bytes read at a time, and all the memory a reading takes."""

Pace = Callable[[int], None]
"""Called with the bytes of each piece before the next is read: it may wait, or raise to stop."""

DAMAGE = (errno.EIO, errno.EUCLEAN, errno.ENODATA, errno.EBADMSG, errno.EILSEQ)
"""What reading damaged sectors or a damaged filesystem may say; anything else is no word on the
file. ext4 and xfs say EUCLEAN (EFSCORRUPTED) and EIO (EFSBADCRC), block devices ENODATA."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's digest in hex and its length in bytes."""

    sha256: str
    size: int


def hash_file(path: Path, pace: Pace | None = None) -> Hashed:
    """The SHA-256 of what is on disk at `path`. Raises OSError, and what `pace` raises."""
    digest = hashlib.sha256()
    size = 0
    with closing(pieces(path)) as found:
        for piece in found:
            digest.update(piece)
            size += len(piece)
            if pace is not None:
                pace(len(piece))
    return Hashed(digest.hexdigest(), size)


def pieces(path: Path, start: int = 0) -> Generator[memoryview]:
    """A file's bytes from `start` on, a multiple of PIECE. Raises OSError.

    Each piece is overwritten by the next, and none may be held on to. Close an iterator that isn't
    read to its end.
    """
    descriptor, direct = _open(path)
    try:
        with closing(pieces_of(descriptor, start, direct=direct)) as found:
            yield from found
    finally:
        os.close(descriptor)


def pieces_of(descriptor: int, start: int = 0, *, direct: bool) -> Generator[memoryview]:
    """As `pieces`, of an open file; `direct`: it was opened with O_DIRECT."""
    # Anonymous memory begins on a page's boundary, as direct I/O wants it.
    # No larger than the file: making a whole PIECE ready takes longer than reading a small one.
    blocks = -(-os.fstat(descriptor).st_size // mmap.PAGESIZE) or 1
    length = min(PIECE, blocks * mmap.PAGESIZE)
    with mmap.mmap(-1, length) as memory, memoryview(memory) as buffer:
        offset = start
        while read := os.preadv(descriptor, [buffer], offset):
            with buffer[:read] as piece:
                yield piece
            if not direct:
                os.posix_fadvise(descriptor, offset, read, os.POSIX_FADV_DONTNEED)
            offset += read
            # Direct I/O can't be asked for more at an end in the middle of a block. Short of
            # the end it breaks off before a bad sector, and says so when asked again.
            if offset >= os.fstat(descriptor).st_size:
                return


def _open(path: Path) -> tuple[int, bool]:
    """The file's descriptor, and whether reading from it bypasses the page cache."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags | os.O_DIRECT), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.open(path, flags), False


class Verifier:
    """Verifies files when someone asks, one at a time: the disk is there for uploads."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._busy = threading.Lock()

    def verify(self, stored: StoredFile, pace: Pace | None = None) -> Verification:
        """Read a committed file again; what is damaged goes to quarantine.

        Raises ProblemError while another file is being verified, DiskFull or DiskFailed,
        sqlite3.Error, and what `pace` raises.
        """
        if not self._busy.acquire(blocking=False):
            raise ProblemError("no-slot", "another file is being verified: try again later")
        try:
            return self._verified(stored, pace)
        finally:
            self._busy.release()

    def _verified(self, stored: StoredFile, pace: Pace | None) -> Verification:
        started = time.monotonic()
        found, damage = self._compared(stored, pace)
        seconds = time.monotonic() - started
        now = datetime.now(UTC)
        if damage is None:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE files SET verified_at = ? WHERE file_id = ? AND state = 'COMMITTED'",
                    (microseconds(now), stored.file_id),
                )
        else:
            quarantine(self._settings, self._database, stored.file_id, damage)
        return Verification(
            file_id=stored.file_id,
            sha256=None if found is None else found.sha256,
            expected=stored.sha256,
            intact=damage is None,
            bytes=0 if found is None else found.size,
            seconds=round(seconds, 3),
            verified_at=now,
        )

    def _compared(self, stored: StoredFile, pace: Pace | None) -> tuple[Hashed | None, str | None]:
        """What was read, and what is wrong with it."""
        try:
            found = hash_file(self._settings.uploads / stored.path, pace)
        except FileNotFoundError:
            return None, self._unless_disk("its data is missing")
        except OSError as error:
            if error.errno in DAMAGE:
                return None, self._unless_disk(f"its data can't be read: {error.strerror}")
            raise translated(error, f"reading {stored.path}") from error
        return found, mismatch(stored, found)

    def _unless_disk(self, damage: str) -> str:
        """The file's damage, unless the whole disk is at fault. Raises DiskFailed then."""
        try:
            check_marker(self._settings)
            check_write(self._settings)
        except NodeUnfit as unfit:
            raise DiskFailed(f"{damage}, and {unfit}") from None
        return damage


def mismatch(stored: StoredFile, found: Hashed) -> str | None:
    """What is wrong with a file that reads like this, in words for people; None if nothing is."""
    if found.size != stored.size:
        return f"it has {found.size} bytes instead of {stored.size}"
    if found.sha256 != stored.sha256:
        return f"its SHA-256 is {found.sha256} instead of {stored.sha256}"
    return None
