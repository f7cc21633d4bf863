"""Files that are whole and on disk once a call returns: also after a power cut.

A file's name lives in its directory: without fsync there, a renamed file may come back under its
old name, or not at all (fsync(2)). A failed fsync is final: the kernel has marked the lost pages
clean, a second one would succeed and lie. So whatever fails here is raised and never tried again.
Some filesystems have no room for the pages only when they write them (NFS, delayed allocation with
quotas): their ENOSPC out of an fsync is told as EIO, for a full disk is a reason to try again.
"""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""No bytes or no inodes are left: on the filesystem, or of this user's share."""


def write(path: Path, content: bytes, mode: int, *, new: bool = False) -> None:
    """Write a file and sync its bytes, not its name. `mode` holds from its first moment on.

    `new`: there must be none yet, not even a link, else FileExistsError. Raises OSError.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
    flags |= os.O_EXCL | os.O_NOFOLLOW if new else os.O_TRUNC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def replace(path: Path, content: bytes, mode: int) -> None:
    """Give `path` this content at once and for good: written beside it, synced, renamed, synced.

    Who reads it meanwhile sees the old content or the new. Raises OSError: what is there then is
    whole, the old or (when only the last sync failed) the new, and nothing is left beside it.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        write(beside, content, mode, new=True)
        beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    try:
        sync_directory(path.parent)
    except OSError as error:
        # Network filesystems have no fsync of directories, and no home is refused for that.
        if error.errno != errno.EINVAL:
            raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError; a failure is final."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> None:
    """Put an open file or directory on disk. Raises OSError, never one that says "full"."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise OSError(errno.EIO, f"fsync found no room: {error.strerror}") from error
        raise
