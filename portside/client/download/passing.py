"""A download that is passed on as it comes: to a pipe, a terminal, `/dev/null`, a disk.

What was written is out of reach: it is verified at the end, and told by the exit code. A cut is
mended all the same, for every node has the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import stat
from types import TracebackType
from typing import Self

from portside import durable_file
from portside.client.http.errors import LocalFileError, OutputClosed


class PassingOutput:
    """Writes to an open descriptor, which is its own from now on; `label` names it for people."""

    can_begin_anew = False

    def __init__(self, descriptor: int, label: str) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._label = label
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)

    @property
    def sha256(self) -> str:
        """Of what was written, in hex."""
        return self._hash.hexdigest()

    def take_over(self, most: int) -> None:
        """Nothing is left of an earlier run."""

    def append(self, block: bytes) -> None:
        """Write all of it. Raises OutputClosed when nobody reads any more, and LocalFileError."""
        left = memoryview(block)
        try:
            while left:
                left = left[self._write(left) :]
        except BrokenPipeError:
            raise OutputClosed(f"{self._label}: nobody reads any more") from None
        except OSError as error:
            raise self._failed(error) from None
        self._hash.update(block)
        self.size += len(block)

    def clear(self) -> None:
        """What was written can't be taken back."""
        raise AssertionError("asked of an output that can't begin anew")

    def finish(self) -> None:
        """A disk has it when this returns; who reads a pipe sees to that alone."""
        if stat.S_ISBLK(os.fstat(self._descriptor).st_mode):
            try:
                durable_file.sync(self._descriptor)
            except OSError as error:
                raise self._failed(error) from None

    def _write(self, block: memoryview) -> int:
        while True:
            try:
                return os.write(self._descriptor, block)
            except BlockingIOError:
                # Whoever has the other end, or had this one before, may have made it so.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()

    def _failed(self, error: OSError) -> LocalFileError:
        if error.errno == errno.ENOSPC:
            return LocalFileError(f"{self._label}: is full after {self.size} bytes of the file")
        return LocalFileError(f"{self._label}: {error.strerror}")
