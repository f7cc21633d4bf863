"""One file of another system's, opened: read, watched while it is read, linked, let go.

Whoever else has it open may go on writing. So the kernel is asked (a read lease is refused while
anybody has the file open for writing, and broken when somebody wants to, fcntl(2)), and size and
time of the last change are compared before and after. What changes is left for the next run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Self

from agent.adoption.privileges import Privileges
from agent.adoption.walk import Found
from agent.storage.sniffing import HEAD_SIZE
from agent.storage.verification import pieces_of
from portside import durable_file

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""What has become a pipe or a device since it was seen opens without waiting, and is refused."""

_BEING_WRITTEN = "is being written to: left for the next run"


class Left(Exception):
    """A file that isn't adopted now; the message says why, in words for people."""


class Source:
    """A regular file of the folder, open for reading."""

    def __init__(self, found: Found, descriptor: int, privileges: Privileges) -> None:
        self.found = found
        self._descriptor = descriptor
        self._privileges = privileges
        self._began = os.fstat(descriptor)
        self._leased = False

    @classmethod
    @contextmanager
    def open(cls, found: Found, privileges: Privileges) -> Iterator[Self]:
        """Open it for a while. Raises Left."""
        try:
            with privileges.as_root():
                descriptor = os.open(found.name, _FLAGS, dir_fd=found.folder)
        except FileNotFoundError:
            raise Left("was gone when it was its turn") from None
        except OSError as error:
            raise Left(f"can't be read: {error.strerror}") from None
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode) or not os.path.samestat(opened, found.seen):
                raise Left("was replaced while the folder was gone through: left for the next run")
            source = cls(found, descriptor, privileges)
            source._watch()
            yield source
        finally:
            # With it go lock and lease.
            os.close(descriptor)

    @property
    def size(self) -> int:
        """Bytes of it, as it was opened."""
        return self._began.st_size

    @property
    def names(self) -> int:
        """Names that it has, this one and hard links elsewhere."""
        return self._began.st_nlink

    @property
    def device(self) -> int:
        """The filesystem that it lies on."""
        return self._began.st_dev

    @property
    def owner(self) -> int:
        """The user that it belongs to."""
        return self._began.st_uid

    @property
    def is_sparse(self) -> bool:
        """Whether it takes clearly less of the disk than it has bytes."""
        return self._began.st_blocks * 512 < self.size // 2

    def is_also(self, path: Path) -> bool:
        """Whether `path` is another name of this very file."""
        try:
            return os.path.samestat(self._began, path.lstat())
        except FileNotFoundError:
            return False

    def head(self) -> bytes:
        """Its first bytes. Raises Left."""
        with self._reading():
            return os.pread(self._descriptor, HEAD_SIZE, 0)

    def pieces(self) -> Generator[memoryview]:
        """Its bytes, read around the page cache; see `agent.storage.verification.pieces`.

        Raises Left.
        """
        with (
            self._reading(),
            closing(pieces_of(self._descriptor, direct=self._enter_direct())) as found,
        ):
            yield from found

    def must_be_unchanged(self) -> None:
        """Raise Left when somebody wrote to it since it was opened, or wants to now."""
        now, before = os.fstat(self._descriptor), self._began
        if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise Left(_BEING_WRITTEN)
        if self._leased and fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK:
            raise Left(_BEING_WRITTEN)

    def link(self, place: Path) -> None:
        """Give it the name `place` too, in the agent's own hands, with its bytes on disk.

        Locked from then on, so that no process of the agent's takes it for abandoned. Raises Left
        when it can't have that name, and OSError when its bytes can't be put on disk.
        """
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Left("another process has it locked: left for the next run") from None
        durable_file.sync(self._descriptor)
        with self._privileges.as_root():
            try:
                if self.owner != self._privileges.uid:
                    os.fchown(self._descriptor, self._privileges.uid, self._privileges.gid)
                # By its descriptor: the name may be another file's by now. A folder's descriptor
                # has Python call linkat(2), which follows the link that stands for it.
                opened = f"/proc/self/fd/{self._descriptor}"
                os.link(opened, place, src_dir_fd=self.found.folder, follow_symlinks=True)
            except OSError as error:
                self._give_back()
                if error.errno in durable_file.NO_ROOM:
                    raise
                raise Left(f"can't be taken over by its name: {error.strerror}") from error

    def undo(self, place: Path) -> None:
        """Take the name `place` away again: it is as it was. Raises OSError.

        Where a commit that failed has given it its stored name already, it stays: the next start
        finishes that.
        """
        try:
            place.unlink()
        except FileNotFoundError:
            return
        with self._privileges.as_root():
            self._give_back()

    def remove_name(self) -> None:
        """Take its old name away, if it is still this file's. Raises OSError.

        Not synced: one that a power cut brings back is known for a second name by the next run.
        """
        found = self.found
        with self._privileges.as_root():
            try:
                there = os.stat(found.name, dir_fd=found.folder, follow_symlinks=False)
            except FileNotFoundError:
                return
            if os.path.samestat(there, self._began):
                os.unlink(found.name, dir_fd=found.folder)

    def _give_back(self) -> None:
        began = self._began
        os.fchown(self._descriptor, began.st_uid, began.st_gid)
        os.fchmod(self._descriptor, stat.S_IMODE(began.st_mode))
        os.utime(self._descriptor, ns=(began.st_atime_ns, began.st_mtime_ns))

    def _watch(self) -> None:
        """Have the kernel say whether somebody writes to it. Raises Left if somebody does.

        Where there are no leases (FUSE, most network filesystems), or for another's file, its time
        alone tells.
        """
        with self._privileges.as_root():
            try:
                fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    raise Left(_BEING_WRITTEN) from None
                return
        self._leased = True

    def _enter_direct(self) -> bool:
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_DIRECT)
        except OSError:
            # Through the page cache, where there is nothing else.
            return False
        return True

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Left(f"can't be read: {error.strerror}") from error
