"""A file as a request body: read in blocks, hashed on its way, watched for changes.

The file is never held in memory: one buffer of `BLOCK` bytes is filled, hashed, sent, and used
again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from portside.client.errors import LocalFileError

BLOCK = 1024 * 1024
"""Bytes of one read and one send: calls are few beside the bytes, progress is still smooth."""

Progress = Callable[[int], None]
"""Called with the number of bytes sent so far, after each block."""


def ignore_progress(sent: int) -> None:
    """For callers that show no progress."""


class FileBody:
    """An open file of `size` bytes that `requests` can send; afterwards `sha256()` is known.

    Raises LocalFileError, when it is opened or while it is sent, for a file that can't be read or
    that changes: its last block is held back until the file is known to be what it was at the
    start, so that a changed file never arrives whole.
    """

    def __init__(self, path: Path, on_progress: Progress = ignore_progress) -> None:
        self.path = path
        self.sent = 0
        self._on_progress = on_progress
        self._hash = hashlib.sha256()
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise LocalFileError(f"{path}: {error.strerror}") from None
        at_start = os.fstat(self._file.fileno())
        self.size = at_start.st_size
        self._changed_at = at_start.st_mtime_ns

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[memoryview]:
        """The blocks, from the first byte on. Each is overwritten by the next one."""
        self._hash = hashlib.sha256()
        self.sent = 0
        self._seek_to_start()
        buffer = memoryview(bytearray(min(BLOCK, self.size) or 1))
        while self.sent < self.size:
            block = buffer[: self._read(buffer[: self.size - self.sent])]
            self._hash.update(block)
            if self.sent + len(block) == self.size:
                self._must_be_unchanged()
            yield block
            self.sent += len(block)
            self._on_progress(self.sent)

    def sha256(self) -> str:
        """The SHA-256, in hex, of what was sent so far."""
        return self._hash.hexdigest()

    def _seek_to_start(self) -> None:
        try:
            self._file.seek(0)
        except OSError:
            raise LocalFileError(f"{self.path}: is no ordinary file") from None

    def _read(self, buffer: memoryview) -> int:
        try:
            count: int = self._file.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            raise LocalFileError(f"{self.path}: {error.strerror}") from None
        if not count:
            raise self._changed()
        return count

    def _must_be_unchanged(self) -> None:
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self.size, self._changed_at):
            raise self._changed()

    def _changed(self) -> LocalFileError:
        return LocalFileError(
            f"{self.path}: changed while it was being sent: nothing was stored, send it again when "
            "it is complete"
        )


def sha256_of(path: Path, on_progress: Progress = ignore_progress) -> str:
    """The SHA-256 of a file in hex, read ahead of an upload. Raises LocalFileError."""
    with FileBody(path, on_progress) as body:
        for _ in body:
            pass
        return body.sha256()
