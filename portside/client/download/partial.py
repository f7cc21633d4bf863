"""A file that is being fetched: beside its destination under another name until all of it is there.

What an earlier run has fetched stays, and is hashed again before the rest is added. The lock on it
turns a second process away.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from portside import durable_file
from portside.client.http.errors import AlreadyRunning, LocalFileError

_BLOCK = 1024 * 1024


class PartialFile:
    """The beginning of the file that goes to `destination`; `size` bytes of it are here.

    One that appears at `destination` meanwhile stays, unless this one `replaces` it. Raises
    LocalFileError where the folder can't be read or written, and AlreadyRunning.
    """

    can_begin_anew = True

    def __init__(self, destination: Path, file_id: str, *, replaces: bool = True) -> None:
        self.destination = destination
        self._replaces = replaces
        self.path = destination.with_name(f".{file_id}.part")
        self.size = 0
        self._hash = hashlib.sha256()
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            self._descriptor = self._open_locked()
        except OSError as error:
            raise self._failed(error) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An empty one is no use to a later run.
        if not os.fstat(self._descriptor).st_size and self.path.exists():
            self.path.unlink()
        os.close(self._descriptor)

    @property
    def sha256(self) -> str:
        """Of what is here, in hex."""
        return self._hash.hexdigest()

    def take_over(self, most: int) -> None:
        """Go on from what an earlier run has left, unless that is more than `most` bytes."""
        if os.fstat(self._descriptor).st_size > most:
            self.clear()
            return
        try:
            while block := os.pread(self._descriptor, _BLOCK, self.size):
                self._hash.update(block)
                self.size += len(block)
        except OSError as error:
            raise self._failed(error) from None

    def append(self, block: bytes) -> None:
        """Add what has arrived."""
        left = memoryview(block)
        try:
            while left:
                left = left[os.pwrite(self._descriptor, left, self.size + len(block) - len(left)) :]
        except OSError as error:
            raise self._failed(error) from None
        self._hash.update(block)
        self.size += len(block)

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0
        self._hash = hashlib.sha256()

    def finish(self) -> None:
        """Give the complete file its name, at once and for good."""
        try:
            os.fsync(self._descriptor)
            if not self._replaces and self.destination.exists():
                raise LocalFileError(
                    f"{self.destination}: has come to be there meanwhile: the same command with "
                    "--force replaces it, and fetches nothing anew"
                )
            self.path.rename(self.destination)
        except OSError as error:
            raise self._failed(error) from None
        try:
            durable_file.sync_directory(self.destination.parent)
        except OSError as error:
            # Some filesystems (CIFS, several of FUSE) have no fsync of folders.
            if error.errno != errno.EINVAL:
                raise self._failed(error) from None

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise AlreadyRunning(
                    f"{self.destination}: another process is fetching it: wait for that one"
                ) from None
            # Between opening and locking, the other process may have finished it.
            if os.fstat(descriptor).st_nlink and self._is_at_its_path(descriptor):
                return descriptor
            os.close(descriptor)

    def _is_at_its_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _failed(self, error: OSError) -> LocalFileError:
        """Full, read-only or broken: what has arrived stays, so that the same command goes on."""
        if error.errno in durable_file.NO_ROOM:
            return LocalFileError(
                f"{self.destination}: {error.strerror} after {self.size} bytes: make room, "
                "then the same command goes on from there"
            )
        if error.errno == errno.EFBIG:
            return LocalFileError(
                f"{self.destination}: this filesystem takes no file so large (vfat: 4 GiB): name a "
                "place on another one with -o"
            )
        return LocalFileError(
            f"{self.destination}: {error.strerror}; the same command goes on once that is mended"
        )
