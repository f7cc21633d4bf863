"""What the data filesystem can do, found out once at the start, and what stands in for the rest.

| missing | where that is so | instead |
| --- | --- | --- |
| a rename that replaces nothing | ZFS before 2.2, NFS, several FUSE | link, then unlink |
| fsync of a directory | CIFS, some FUSE | syncfs: all that this filesystem has in memory |
| direct I/O | FUSE, older tmpfs | the page cache, paced |
| fallocate, sync_file_range | NFS before 4.2, FUSE | nothing: the ledger alone promises space |

link(2) never replaces and is as atomic. A crash between it and the unlink leaves the file under
both names, which `agent.storage.commit` finds by its inode. Where names can't be synced at all, or
neither call is there, no order of steps would be safe: such a filesystem is refused.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from agent.host import linux
from portside import durable_file
from portside.durable_file import NO_ROOM

NAME_BYTES = 255
"""What a name may have: `portside.names` uses them, with the attributes' suffix."""

_MISSING = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTTY)
"""What the kernel says of a call that a filesystem doesn't have."""

_NO_LINKS = (*_MISSING, errno.EPERM, errno.EMLINK)
"""link(2): EPERM where the filesystem has none."""


class FilesystemUnfit(Exception):
    """The data filesystem lacks something that nothing can stand in for; the message says what."""


@dataclass(frozen=True, slots=True)
class Filesystem:
    """One filesystem's abilities: everything, until something is found missing."""

    kind: str = "unknown"
    """As the kernel calls it: `ext4`, `xfs`, `fuse.sshfs`."""
    noreplace_rename: bool = True
    hard_links: bool = True
    directory_fsync: bool = True
    direct_io: bool = True
    fallocate: bool = True
    sync_file_range: bool = True

    @property
    def lacks(self) -> tuple[str, ...]:
        """Names of what it can't do."""
        return tuple(
            each.name.replace("_", "-") for each in fields(self) if not getattr(self, each.name)
        )

    def rename_without_replacing(self, source: Path, target: Path) -> None:
        """Rename atomically. Raises FileExistsError when `target` is there, and OSError."""
        if self.noreplace_rename:
            linux.rename_without_replacing(source, target)
            return
        os.link(source, target, follow_symlinks=False)
        try:
            source.unlink()
        except OSError as error:
            # Not as it is: a full disk's ENOSPC would say that nothing has happened.
            raise OSError(errno.EIO, f"it has two names now: {error.strerror}") from error

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable. Raises OSError; a failure is final."""
        if self.directory_fsync:
            durable_file.sync_directory(path)
        else:
            with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                linux.sync_filesystem(descriptor)


_found: dict[Path, Filesystem] = {}


def of(root: Path) -> Filesystem:
    """What was found out about the filesystem at `root`; all abilities where nobody has looked."""
    return _found.get(root, Filesystem())


def examine(root: Path, folder: Path, also: tuple[Path, ...] = ()) -> Filesystem:
    """Find out what the filesystem at `root` can do, in `folder` on it; `of` tells it from then on.

    A file that lies in `folder` is used where there is no room for a new one. Raises
    FilesystemUnfit, also when a folder of `also` is on another filesystem; OSError, with ENOSPC
    where no file is there and none can be made.
    """
    for each in also:
        if each.stat().st_dev != root.stat().st_dev:
            raise FilesystemUnfit(
                f"{each} is on another filesystem than {root}: files are renamed between them, "
                "mount one filesystem on the root"
            )
    with _sample(folder) as sample:
        found = Filesystem(
            kind=_kind(root),
            direct_io=_has(lambda: _write_directly(sample)),
            fallocate=_allocates(sample),
            sync_file_range=_has(lambda: _start_writeback(sample)),
            noreplace_rename=_has(lambda: _rename(sample, linux.rename_without_replacing)),
            hard_links=_has(lambda: _link(sample), _NO_LINKS),
            directory_fsync=_has(lambda: durable_file.sync_directory(folder)),
        )
        _need(root, found, sample)
    _found[root] = found
    return found


def _need(root: Path, found: Filesystem, sample: Path) -> None:
    """Raise FilesystemUnfit where something is missing that nothing stands in for."""
    missing = []
    if not found.noreplace_rename and not found.hard_links:
        missing.append("a rename that replaces nothing (renameat2) and hard links")
    if not found.directory_fsync and not _has(lambda: _sync_all(sample.parent)):
        missing.append("fsync of directories, and syncfs")
    if not _has(lambda: _lock(sample), (*_MISSING, errno.ENOLCK)):
        missing.append("locks (flock and open file description locks)")
    if not _has(lambda: _rename_long(sample), (*_MISSING, errno.ENAMETOOLONG)):
        missing.append(f"names of {NAME_BYTES} bytes")
    if missing:
        raise FilesystemUnfit(
            f"{root} is on {found.kind}, which lacks {' and '.join(missing)}: stored files would "
            "not be safe there; use ext4 or xfs"
        )


@contextmanager
def _sample(folder: Path) -> Iterator[Path]:
    """A file to try things on: a new one, or one that is there if there is no room."""
    path = folder / f"sample-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        there = next(folder.iterdir(), None)
        if error.errno not in NO_ROOM or there is None:
            raise
        # Under a name of its own: another process that starts takes another one.
        yield there.rename(path)
        return
    os.close(descriptor)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _has(attempt: Callable[[], None], missing: tuple[int, ...] = _MISSING) -> bool:
    """Whether a call is there. A disk that has no room for it has it all the same."""
    try:
        attempt()
    except OSError as error:
        if error.errno not in (*missing, *NO_ROOM):
            raise
        return error.errno in NO_ROOM
    return True


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_directly(sample: Path) -> None:
    with _opened(sample, os.O_RDWR | os.O_DIRECT) as descriptor, mmap.mmap(-1, mmap.PAGESIZE) as m:
        os.pwrite(descriptor, m, 0)


def _allocates(sample: Path) -> bool:
    with _opened(sample, os.O_RDWR) as descriptor:
        try:
            return linux.allocate(descriptor, 0, mmap.PAGESIZE)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return True


def _start_writeback(sample: Path) -> None:
    with _opened(sample, os.O_RDWR) as descriptor:
        linux.start_writeback(descriptor, 0, mmap.PAGESIZE)


def _rename(sample: Path, rename: Callable[[Path, Path], None], name: str = "") -> None:
    other = sample.with_name(name or f"{sample.name}.renamed")
    rename(sample, other)
    other.rename(sample)


def _rename_long(sample: Path) -> None:
    _rename(sample, os.rename, secrets.token_hex(NAME_BYTES)[:NAME_BYTES])


def _link(sample: Path) -> None:
    other = sample.with_name(f"{sample.name}.linked")
    os.link(sample, other)
    other.unlink()


def _lock(sample: Path) -> None:
    with _opened(sample, os.O_RDWR) as descriptor:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        linux.lock_range(descriptor, 0, 1)


def _sync_all(folder: Path) -> None:
    with _opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        linux.sync_filesystem(descriptor)


def _kind(root: Path) -> str:
    """The type of the mount that `root` is in (proc(5), mountinfo)."""
    best, kind = "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        if root.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind
