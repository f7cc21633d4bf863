"""Room that is held for what must go on a full disk: starts, deletions, rounds, undoing.

Whoever deletes needs room first: for a tombstone, for the index's log, at a start for the index's
two files beside it. So the agent keeps 32 small files with their blocks taken. Work that finds the
disk full gives some of them up (each is an inode and 256 KiB) and is done again; what is left of
the room afterwards is taken back. Uploads never use it: they are refused.

Held on disk and nowhere else: the web side and the worker share it, and so does the next start.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog

from agent.host import filesystem, linux
from agent.settings import Settings
from agent.storage.staging import DiskFull
from portside.durable_file import NO_ROOM
from portside.quantities import KIB

PIECES = 32
PIECE = 256 * KIB
"""Files, and bytes of each. In all twice what the index's log has when it is written back."""

_FEW_INODES = 4
"""The index needs two for its files, others may take one meanwhile."""

_RAN_OUT = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR_WRITE,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_SHMSIZE,
        sqlite3.SQLITE_IOERR_SHMMAP,
    }
)
"""What SQLite says beside SQLITE_FULL when there is no inode for its files, no block for the memory
that processes share, or no more of the user's quota; each has other causes too."""

_Result = TypeVar("_Result")
_log = structlog.get_logger()


class Reserve:
    """The room that is held on one node's data filesystem. Thread-safe: the disk is its state."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root
        self._folder = settings.reserve

    def spend(self, work: Callable[[], _Result]) -> _Result:
        """Do `work`, and as long as the disk is too full for it, again with more room.

        So `work` must be of a kind that can be begun anew. Raises what it raises; DiskFull, however
        it was said, once nothing is held any more.
        """
        step, spent = 1, 0
        while True:
            try:
                result = work()
                break
            except (DiskFull, OSError, sqlite3.Error) as error:
                if not self._means_full(error):
                    raise
                given = self.give_up(step)
                if not given:
                    raise DiskFull(f"the disk is full, with no reserve left: {error}") from error
                step, spent = 2 * step, spent + given
                _log.warning("reserve spent on a full disk", pieces=spent, reason=str(error))
        if spent:
            self.refill()
        return result

    def lend(self) -> None:
        """Make sure of a little room before work that would not survive finding none."""
        status = os.statvfs(self._root)
        short_of_inodes = bool(status.f_files) and status.f_favail < _FEW_INODES
        if status.f_bavail * status.f_frsize < PIECE or short_of_inodes:
            self.give_up(1)

    def keep(self, count: int) -> int:
        """Give up all but `count` pieces; returns the bytes that were held. Raises OSError."""
        return self.give_up(max(0, len(self._pieces()) - count)) * PIECE

    def give_up(self, count: int) -> int:
        """Remove up to `count` pieces; returns how many. Raises OSError."""
        given = 0
        for piece in self._pieces()[:count]:
            try:
                piece.unlink()
            except FileNotFoundError:
                # The other process was first.
                continue
            given += 1
        if given:
            # ext4 and xfs lend out what was freed once their journal is written.
            filesystem.of(self._root).sync_directory(self._folder)
        return given

    def refill(self) -> int:
        """Take as much room as there is, up to what is to be held; returns the pieces held.

        Raises OSError, but none that says that the disk is full.
        """
        try:
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            pieces = self._pieces()
            for piece in pieces:
                self._fill(piece)
            for _ in range(PIECES - len(pieces)):
                self._fill(self._folder / f"piece-{secrets.token_hex(8)}")
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
        return len(self._pieces())

    def _pieces(self) -> list[Path]:
        try:
            return sorted(self._folder.iterdir())
        except FileNotFoundError:
            return []

    def _fill(self, piece: Path) -> None:
        """Give a piece its blocks. Without room for them it is none."""
        descriptor = os.open(piece, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found = os.fstat(descriptor)
            taken = max(found.st_size, found.st_blocks * 512)
            if taken >= PIECE or linux.allocate(descriptor, 0, PIECE):
                return
            # Random: a filesystem that compresses would take no room for anything else.
            os.pwrite(descriptor, os.urandom(PIECE), 0)
            os.fsync(descriptor)
        except OSError:
            piece.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _means_full(self, error: Exception) -> bool:
        if isinstance(error, OSError):
            return error.errno in NO_ROOM
        if isinstance(error, sqlite3.Error):
            return says_full(error, self._root)
        return isinstance(error, DiskFull)


def says_full(error: sqlite3.Error, root: Path) -> bool:
    """Whether the index found no room; what SQLite says may have to be asked of the disk itself."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    # The low byte is the primary code, whatever the extended one says (sqlite.org/rescode.html).
    return code & 0xFF == sqlite3.SQLITE_FULL or (code in _RAN_OUT and not _has_room(root))


def _has_room(root: Path) -> bool:
    """Whether a small file can be made on the filesystem; what fails for other reasons can."""
    path = root / "staging" / f".write-check-{os.getpid()}{secrets.randbelow(10**9)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, bytes(PIECE // 8), 0)
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
    except OSError as error:
        return error.errno not in NO_ROOM
    return True
