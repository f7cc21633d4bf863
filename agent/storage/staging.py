"""A growing file: its blocks taken a step ahead, paced while it grows, durable at the end.

Written with O_DIRECT where the filesystem knows it: the bytes go from the ring's buffer to the disk
without a copy, and a node with little memory isn't filled with dirty pages.

What the operating system may say, and what follows:

- ENOSPC or EDQUOT, at the reservation or later: the upload ends with 507, the space is given back.
- EIO or anything else on a write: the upload ends with 500, the node turns read-only; only a
  shortage of handles or memory (EMFILE, ENFILE, ENOMEM) passes by itself.
- a failed fsync or fdatasync: the same, and it is never tried again, for the kernel has marked the
  lost pages clean and a second fsync would succeed (fsync(2), NOTES).
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.host import linux
from agent.host.filesystem import Filesystem
from portside.durable_file import NO_ROOM
from portside.quantities import MIB
from portside.sizing import Sizing, inodes_kept_free
from portside.wire.status import INODES_PER_FILE

SUFFIX = ".part"
ATTRIBUTES_SUFFIX = ".part.attr"

_DIRECT_BLOCK = 4096
"""Direct I/O wants offsets and lengths in blocks of the disk, which are this large at most."""

_SYNC_THREADS = 2
"""Threads that wait for fdatasync, shared by all uploads: one disk doesn't get faster by more."""


STEP = 64 * MIB
"""Bytes of disk that are taken in one go, ahead of those that come: nobody holds more blocks than
that without bytes in them, and to take them is nothing beside the time in which they fill."""

Growing = Callable[[int], AbstractContextManager[None]]
"""Entered before so many more bytes of disk are taken; raises when they can't be had."""


class DiskFull(Exception):
    """There is no room for the file's bytes."""


class DiskFailed(Exception):
    """Bytes could not be written; `final` means that the disk can't be trusted any more."""

    def __init__(self, message: str, final: bool = True) -> None:
        super().__init__(message)
        self.final = final


class RegionTaken(Exception):
    """Another process is writing these bytes of the file."""


@dataclass(frozen=True, slots=True)
class Region:
    """The bytes of a staging file that belong to one upload."""

    start: int
    length: int


def _nobody_asks(durable: int) -> None:
    pass


@dataclass(slots=True)
class _Blocks:
    """How an upload takes blocks: up to `taken` by now, up to `most` at all.

    `reserves`: whether the filesystem has reserved some.
    """

    growing: Growing
    most: int
    taken: int
    reserves: bool = False


_syncers = ThreadPoolExecutor(_SYNC_THREADS, thread_name_prefix="sync")


_ABLE = Filesystem()


class StagingFile:
    """A file that an upload writes, until it is committed or goes on another time.

    `size` is where the next byte goes, `durable` up to where bytes are on disk. Locks on the file
    tell live from abandoned and keep two writers apart. Used by one thread at a time.
    """

    def __init__(
        self,
        path: Path,
        descriptor: int,
        sizing: Sizing,
        filesystem: Filesystem,
        position: int = 0,
    ) -> None:
        self.path = path
        self.size = self.durable = position
        self.on_durable: Callable[[int], None] = _nobody_asks
        self._descriptor = descriptor
        self._sizing = sizing
        self._filesystem = filesystem
        self._paced = position
        self._sync: Future[None] | None = None
        self._kept = False
        self._blocks: _Blocks | None = None
        try:
            self._direct = self._enter_direct()
        except OSError as error:
            raise translated(error, "opening a staging file") from error

    @classmethod
    def create(
        cls, directory: Path, file_id: str, sizing: Sizing, filesystem: Filesystem = _ABLE
    ) -> StagingFile:
        """A new file, removed on leaving the context unless it is kept. Raises as `write`."""
        try:
            path, descriptor = _create_locked(directory, file_id)
        except OSError as error:
            raise translated(error, "creating a staging file") from error
        return cls(path, descriptor, sizing, filesystem)

    @classmethod
    def reopen(
        cls,
        path: Path,
        sizing: Sizing,
        region: Region,
        position: int,
        filesystem: Filesystem = _ABLE,
    ) -> StagingFile:
        """An upload's `region` of a file that is there, to go on at `position`. It is kept.

        Raises RegionTaken when another process writes it, FileNotFoundError, and as `write`.
        """
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise translated(error, "opening a staging file") from error
        try:
            # Shared: the parts of one file are written side by side.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if os.fstat(descriptor).st_nlink == 0:
                raise FileNotFoundError(path)
            if not linux.lock_range(descriptor, region.start, region.length):
                raise RegionTaken(path.name)
            staging = cls(path, descriptor, sizing, filesystem, position)
        except BaseException:
            os.close(descriptor)
            raise
        staging.keep()
        return staging

    def __enter__(self) -> StagingFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sync is not None:
            # A descriptor must not be closed, and its number reused, under a running fdatasync.
            self._sync.exception()
        if not self._kept:
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def keep(self) -> None:
        """Don't remove the file on leaving: it has its final name, or an upload goes on in it."""
        self._kept = True

    def reserve(self, size: int, offset: int = 0) -> bool:
        """Take `size` bytes of disk now, so that a full disk says so here and not at 99 %.

        False where the filesystem can't. Raises DiskFull or DiskFailed.
        """
        if not self._filesystem.fallocate:
            return False
        try:
            return linux.allocate(self._descriptor, offset, size)
        except OSError as error:
            raise translated(error, "reserving space") from error

    def take_in_steps(self, growing: Growing, most: int, taken: int = 0) -> None:
        """Take blocks a step ahead from now on; up to `taken` they are there, behind `most` none.

        Both count from the file's beginning. `growing` is entered for each step.
        """
        self._blocks = _Blocks(growing, most, taken)

    def _take_up_to(self, end: int) -> None:
        blocks = self._blocks
        while blocks is not None and end > blocks.taken:
            # Where the filesystem can't reserve, what is written takes them; the first bytes tell.
            step = max(end - blocks.taken, STEP if blocks.reserves else 0)
            step = max(min(step, blocks.most - blocks.taken), end - blocks.taken)
            with blocks.growing(step):
                blocks.reserves = self.reserve(step, blocks.taken)
            blocks.taken += step

    def give_back(self, region: Region) -> None:
        """The blocks of a region of which nobody needs a byte. Raises DiskFailed.

        Where the filesystem can't, the file's end gives them back.
        """
        try:
            linux.deallocate(self._descriptor, region.start, region.length)
        except OSError as error:
            raise translated(error, "giving blocks back") from error

    def until_aligned(self) -> int:
        """Bytes up to where direct I/O can begin; 0 when it can at once, or never will."""
        return -self.size % _DIRECT_BLOCK if self._direct else 0

    def write(self, data: memoryview) -> None:
        """Append `data`, and keep the disk busy behind it. Raises DiskFull or DiskFailed.

        Fast in page-aligned memory from one block's boundary to another; what is not goes through
        the page cache.
        """
        try:
            self._take_up_to(self.size + len(data))
            odd = len(data) % _DIRECT_BLOCK
            whole = 0 if self.until_aligned() else len(data) - odd
            self._append(data[:whole])
            self._append_through_cache(data[whole:])
            self._pace()
        except OSError as error:
            raise translated(error, "writing") from error

    def _append_through_cache(self, data: memoryview) -> None:
        if not data:
            return
        direct = self._direct
        if direct:
            self._set_flags(self._get_flags() & ~os.O_DIRECT)
        self._append(data)
        if direct:
            self._direct = self._enter_direct()

    def _append(self, data: memoryview) -> None:
        while data:
            try:
                written = os.pwrite(self._descriptor, data, self.size)
            except OSError as error:
                # A filesystem may take the flag and yet refuse the write: then through the cache.
                if error.errno != errno.EINVAL or not self._direct:
                    raise
                self._leave_direct()
                continue
            self.size += written
            data = data[written:]

    def _pace(self) -> None:
        """Make one window after the other durable while the next one fills.

        A window is waited for only when the next is full: at most two of them are not yet safe, so
        that the last fsync finds almost nothing to do, however large the file. Through the page
        cache, writeback starts in smaller steps still, and what is safe leaves the cache.
        """
        if not self._direct and self.size - self._paced >= self._sizing.writeback_chunk:
            # Without it the pace is that of the windows below.
            if self._filesystem.sync_file_range:
                linux.start_writeback(self._descriptor, self._paced, self.size - self._paced)
            self._paced = self.size
        if self.size - self.durable >= self._sizing.sync_window:
            if self._sync is not None and (self._sync.done() or self._two_windows_open()):
                self._finish_sync()
            if self._sync is None:
                self._sync = _syncers.submit(self._sync_up_to, self.size)

    def _two_windows_open(self) -> bool:
        return self.size - self.durable >= 2 * self._sizing.sync_window

    def _sync_up_to(self, size: int) -> None:
        os.fdatasync(self._descriptor)
        if not self._direct:
            os.posix_fadvise(self._descriptor, 0, size, os.POSIX_FADV_DONTNEED)
        self.durable = size
        self.on_durable(size)

    def _enter_direct(self) -> bool:
        """Bypass the page cache where the filesystem can: no copy, no memory, no dirty pages."""
        if not self._filesystem.direct_io:
            return False
        try:
            self._set_flags(self._get_flags() | os.O_DIRECT)
        except OSError as error:
            if error.errno == errno.EINVAL:
                return False
            raise
        return True

    def _leave_direct(self) -> None:
        if self._direct:
            self._set_flags(self._get_flags() & ~os.O_DIRECT)
            self._direct = False
            self._paced = self.size

    def _get_flags(self) -> int:
        return fcntl.fcntl(self._descriptor, fcntl.F_GETFL)

    def _set_flags(self, flags: int) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags)

    def _finish_sync(self) -> None:
        if self._sync is None:
            return
        sync, self._sync = self._sync, None
        try:
            sync.result()
        except OSError as error:
            raise DiskFailed(f"fdatasync failed: {error.strerror}") from error

    def make_durable(self) -> None:
        """Give back what was reserved beyond the end, then put everything on disk.

        Raises DiskFailed when a sync fails, now or earlier: the file is lost then.
        """
        self._finish_sync()
        try:
            os.ftruncate(self._descriptor, self.size)
            os.fsync(self._descriptor)
        except OSError as error:
            raise DiskFailed(f"fsync failed: {error.strerror}") from error
        self.durable = self.size

    def settle(self) -> None:
        """Put everything written so far on disk; the upload goes on another time.

        Raises DiskFailed when a sync fails, now or earlier.
        """
        self._finish_sync()
        try:
            os.fdatasync(self._descriptor)
        except OSError as error:
            raise DiskFailed(f"fdatasync failed: {error.strerror}") from error
        self.durable = self.size


def _create_locked(directory: Path, file_id: str) -> tuple[Path, int]:
    """A new file and its descriptor, locked until that closes, which a crash does too.

    A sweep may see the file between its creation and its locking, and remove it: then another one.
    """
    while True:
        path = directory / f"{file_id}.{secrets.token_hex(4)}{SUFFIX}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def must_have_room(root: Path, size: int, kept_free: int) -> None:
    """Raise DiskFull unless `size` bytes fit beside what is kept free, for what isn't admitted."""
    free = shutil.disk_usage(root).free
    if free - size < kept_free:
        raise DiskFull(f"the disk is full: {free} bytes are free, {size} more are needed")
    inodes = os.statvfs(root)
    if inodes.f_files and inodes.f_favail < inodes_kept_free(inodes.f_files) + INODES_PER_FILE:
        raise DiskFull(f"the disk is full: {inodes.f_favail} inodes are free")


def is_live(path: Path) -> bool:
    """Whether a process is writing the staging file at `path`."""
    with _try_lock(path) as abandoned:
        return path.exists() and not abandoned


def remove_abandoned(path: Path, is_needed: Callable[[str], bool]) -> bool:
    """Remove the staging file at `path` unless somebody writes or needs it; True if removed.

    Asked under the lock: an upload that has just begun has its row before it lets go of the file.
    """
    with _try_lock(path) as abandoned:
        if not abandoned or is_needed(path.name):
            return False
        path.unlink()
        return True


@contextmanager
def _try_lock(path: Path) -> Iterator[bool]:
    """Hold the file's lock for a moment; False where someone else has it, or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Two where a commit was cut between link and unlink: it is abandoned all the same.
        yield os.fstat(descriptor).st_nlink > 0
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


def translated(error: OSError, doing: str) -> DiskFull | DiskFailed:
    """What an error of the operating system means for an upload."""
    if error.errno in (*NO_ROOM, errno.EFBIG):
        return DiskFull(f"the disk is full ({doing})")
    short_of_handles = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return DiskFailed(f"{doing} failed: {error.strerror}", final=not short_of_handles)
