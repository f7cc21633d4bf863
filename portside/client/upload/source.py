"""What a path is as the source of an upload: bytes that can be read again, or a stream.

A file, and a disk as well, has a size and can be gone back in: what was cut off goes on from there.
A pipe, a terminal or a tape passes by once, and only its end tells how long it was. The kernel's
own files (proc(5), sysfs(5)) look like files and tell sizes that aren't theirs: they are streams.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path

from portside.client.http.errors import LocalFileError

STDIN = Path("-")
"""Standard input, as curl, tar and rclone have it; a file of that name is `./-`."""

_PAGE = 4096
"""sysfs tells the size of every file to be one page, proc tells 0."""

_DESCRIPTOR = re.compile(r"/dev/(?:stdin|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")


def size_of(path: Path) -> int | None:
    """Bytes of a file or a disk; None for a stream. Raises LocalFileError for what is neither."""
    if path == STDIN:
        return None
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            target = path.readlink()
            raise LocalFileError(f"{path}: leads to {target}, which isn't there") from None
        raise LocalFileError(f"{path}: not found") from None
    except (OSError, ValueError) as error:
        raise LocalFileError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(found.st_mode):
        raise LocalFileError(
            f"{path}: is a folder: name the files in it, or send it as one: "
            f"tar -c {path} | portside put - --name {path.resolve().name or 'folder'}.tar"
        )
    if stat.S_ISSOCK(found.st_mode):
        raise LocalFileError(f"{path}: is a socket, which can't be read as a file")
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISCHR(found.st_mode):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from None
    try:
        size = size_of_open(descriptor)
        return None if _is_the_kernels(descriptor, found, size) else size
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from None
    finally:
        os.close(descriptor)


def size_of_open(descriptor: int) -> int:
    """Bytes of an open file or disk; stat(2) tells 0 for a disk, its end tells. Raises OSError."""
    found = os.fstat(descriptor)
    if not stat.S_ISBLK(found.st_mode):
        return found.st_size
    return os.lseek(descriptor, 0, os.SEEK_END)


def name_of(path: Path) -> str:
    """The name that it is stored under unless another is given. Raises ValueError for none."""
    if path == STDIN or _DESCRIPTOR.fullmatch(str(path)):
        raise ValueError("a stream has no name of its own: say --name, as --name backup.tar")
    with suppress(UnicodeDecodeError):
        # Whatever the locale says: a name that is valid UTF-8 is meant as such.
        return os.fsencode(path.name).decode()
    if not path.name.isprintable():
        raise ValueError(
            f"{path.name!r}: the name is no valid Unicode: rename the file, or say --name"
        )
    return path.name


def _is_the_kernels(descriptor: int, found: os.stat_result, size: int) -> bool:
    """Whether a file holds no blocks, as the kernel's own do, and another number of bytes."""
    if not stat.S_ISREG(found.st_mode) or found.st_blocks or size not in (0, _PAGE):
        return False
    try:
        return len(os.pread(descriptor, size + 1, 0)) != size
    except OSError:
        # Some of them can't be read from a position.
        return True
