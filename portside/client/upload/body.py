"""A file as a request body: read in blocks, hashed on its way, watched for changes.

The file is never held in memory: one buffer of `BLOCK` bytes is filled, sent, and used again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from portside.client.http.errors import LocalFileError
from portside.client.upload.source import size_of_open

BLOCK = 1024 * 1024
"""Bytes of one read and one send: calls are few beside the bytes, progress is still smooth."""

_SAMPLE = 64 * 1024
"""Bytes of each end that tell a file from another of its size and moment: one read."""

Progress = Callable[[int], None]
"""Called with the number of bytes sent so far, after each block."""


def ignore_progress(sent: int) -> None:
    """For callers that show no progress."""


class Blocks(Protocol):
    """Bytes that can be gone back in."""

    def blocks(self, start: int, end: int) -> Iterator[memoryview]:
        """Those from `start` up to `end`, block by block."""


class OpenFile:
    """A file, or a disk, of `size` bytes that must stay what it was when it was opened.

    May be read by several threads at once. Raises LocalFileError when it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise LocalFileError(f"{path}: {error.strerror}") from None
        at_start = os.fstat(self._descriptor)
        if not (stat.S_ISREG(at_start.st_mode) or stat.S_ISBLK(at_start.st_mode)):
            os.close(self._descriptor)
            raise LocalFileError(f"{path}: is neither a file nor a disk")
        self._told_size = at_start.st_size
        self.size = size_of_open(self._descriptor)
        self.changed_at = at_start.st_mtime_ns
        self.inode = at_start.st_ino

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
        # A thread that reads on must not read another file with the same number.
        self._descriptor = -1

    def sample(self) -> str:
        """A SHA-256, in hex, of its first and last bytes: most changes show there.

        Raises LocalFileError for a file that can't be read or has changed.
        """
        digest = hashlib.sha256()
        for start in (0, max(0, self.size - _SAMPLE)):
            for block in self.blocks(start, min(start + _SAMPLE, self.size)):
                digest.update(block)
        return digest.hexdigest()

    def blocks(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from `start` up to `end`. Each block is overwritten by the next one.

        Raises LocalFileError for a file that can't be read or has changed.
        """
        buffer = memoryview(bytearray(min(BLOCK, end - start) or 1))
        while start < end:
            block = buffer[: self._read(buffer[: end - start], start)]
            self._must_be_unchanged()
            start += len(block)
            yield block

    def _read(self, buffer: memoryview, position: int) -> int:
        try:
            count = os.preadv(self._descriptor, [buffer], position)
        except OSError as error:
            raise LocalFileError(f"{self.path}: {error.strerror}") from None
        if not count:
            raise self._changed()
        return count

    def _must_be_unchanged(self) -> None:
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._told_size, self.changed_at):
            raise self._changed()

    def _changed(self) -> LocalFileError:
        return LocalFileError(
            f"{self.path}: changed while it was being sent: count it as not stored, and send it "
            "again when it is complete"
        )


class FileBody:
    """A file that `requests` can send whole; afterwards `sha256()` is known.

    Raises LocalFileError, when it is opened or while it is sent, for a file that can't be read or
    that changes: no block is sent of a file that isn't what it was at the start, so that a changed
    one never arrives whole.
    """

    def __init__(self, path: Path, on_progress: Progress = ignore_progress) -> None:
        self.sent = 0
        self._on_progress = on_progress
        self._hash = hashlib.sha256()
        self._file = OpenFile(path)
        self.size = self._file.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[memoryview]:
        """The blocks, from the first byte on. Each is overwritten by the next one."""
        self._hash = hashlib.sha256()
        self.sent = 0
        for block in self._file.blocks(0, self.size):
            self._hash.update(block)
            yield block
            self.sent += len(block)
            self._on_progress(self.sent)

    def sha256(self) -> str:
        """The SHA-256, in hex, of what was sent so far."""
        return self._hash.hexdigest()


class Range:
    """The bytes of `file` from `start` up to `end` as a body, for one request.

    `on_progress` is called with the bytes of this range that were sent so far.
    """

    def __init__(self, file: Blocks, start: int, end: int, on_progress: Progress) -> None:
        self.sent = 0
        self._file = file
        self._start = start
        self._end = end
        self._on_progress = on_progress

    def __len__(self) -> int:
        return self._end - self._start

    def __iter__(self) -> Iterator[memoryview]:
        """The blocks, from the first byte on. Each is overwritten by the next one."""
        self.sent = 0
        for block in self._file.blocks(self._start, self._end):
            yield block
            self.sent += len(block)
            self._on_progress(self.sent)


def sha256_of(path: Path, on_progress: Progress = ignore_progress) -> str:
    """The SHA-256 of a file in hex, read ahead of an upload. Raises LocalFileError."""
    with FileBody(path, on_progress) as body:
        for _ in body:
            pass
        return body.sha256()
