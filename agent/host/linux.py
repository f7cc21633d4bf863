"""Calls the agent needs and Python doesn't have: fallocate with its modes, locks on ranges,
sync_file_range, renameat2 with NOREPLACE and syncfs for the write path, malloc_trim for the start.
Which of them the data filesystem knows is `agent.host.filesystem`'s to find out.

The system calls raise OSError with errno, like those in `os`. ctypes lets go of the interpreter
lock while they run.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)

_FALLOC_FL_KEEP_SIZE = 0x01
_FALLOC_FL_PUNCH_HOLE = 0x02
_SYNC_FILE_RANGE_WRITE = 0x02
_RENAME_NOREPLACE = 0x01
_AT_FDCWD = -100

_offset = ctypes.c_int64
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, _offset, _offset]
_libc.sync_file_range.argtypes = [ctypes.c_int, _offset, _offset, ctypes.c_uint]
_libc.syncfs.argtypes = [ctypes.c_int]
_libc.renameat2.argtypes = [
    *(ctypes.c_int, ctypes.c_char_p),
    *(ctypes.c_int, ctypes.c_char_p),
    ctypes.c_uint,
]


def allocate(descriptor: int, offset: int, size: int) -> bool:
    """Reserve `size` bytes of disk from `offset` on; the file's length stays (fallocate(2)).

    False where the filesystem can't do it. Raises OSError, with ENOSPC when the disk is too full.
    """
    if size == 0:
        return True
    try:
        _retried(_libc.fallocate, descriptor, _FALLOC_FL_KEEP_SIZE, offset, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise
    return True


def deallocate(descriptor: int, offset: int, size: int) -> bool:
    """Give back the blocks of `size` bytes from `offset` on, which read as zeros from then on.

    False where the filesystem can't do it (fallocate(2), PUNCH_HOLE). Raises OSError.
    """
    if size == 0:
        return True
    mode = _FALLOC_FL_KEEP_SIZE | _FALLOC_FL_PUNCH_HOLE
    try:
        _retried(_libc.fallocate, descriptor, mode, offset, size)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        raise
    return True


def lock_range(descriptor: int, start: int, length: int) -> bool:
    """Lock a range of a file until the descriptor closes; False if someone has some of it.

    An open file description lock (fcntl(2)): it belongs to the open file, not to the process,
    so that two uploads of one process exclude each other too.
    """
    # struct flock: type, whence, start, length (0 would mean "to the end"), no process id.
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, start, max(1, length), 0)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def start_writeback(descriptor: int, offset: int, length: int) -> None:
    """Begin writing a range of dirty pages to disk and don't wait (sync_file_range(2)).

    Paces the disk, promises nothing: durability comes from fdatasync and fsync alone.
    """
    _retried(_libc.sync_file_range, descriptor, offset, length, _SYNC_FILE_RANGE_WRITE)


def rename_without_replacing(source: Path, target: Path) -> None:
    """Rename atomically, failing with FileExistsError when `target` is there (renameat2(2))."""
    _retried(
        _libc.renameat2,
        *(_AT_FDCWD, os.fsencode(source)),
        *(_AT_FDCWD, os.fsencode(target)),
        _RENAME_NOREPLACE,
    )


def sync_filesystem(descriptor: int) -> None:
    """Put everything on disk that the filesystem of an open file has in memory (syncfs(2))."""
    _retried(_libc.syncfs, descriptor)


def trim_memory() -> None:
    """Give memory that was freed back to the system (malloc_trim(3))."""
    _libc.malloc_trim(0)


def _retried(call: ctypes._NamedFuncPointer, *arguments: int | bytes) -> None:
    while call(*arguments) != 0:
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
