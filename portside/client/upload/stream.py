"""A stream as windows of bytes, each held until the node has it: a pipe can't be read again.

What a cut connection loses is in the window that is being sent. A thread fills the next one
meanwhile, so that neither the program that writes nor the network waits for the other; more than
these two are never held, however long the stream is.
"""

from __future__ import annotations

import hashlib
import os
import queue
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from portside.client.http.errors import LocalFileError
from portside.client.upload.body import BLOCK
from portside.client.upload.source import STDIN

WINDOW = 32 * 1024 * 1024
"""Bytes of one request. Each costs some round trips and a sync of the node's disk: larger ones are
hardly faster, and two are held in memory."""

_HELD = 2


class Window:
    """The bytes of a stream from `start` up to `end`; `is_last`: behind them the stream ends."""

    def __init__(self, start: int, content: memoryview, is_last: bool) -> None:
        self.start = start
        self.end = start + len(content)
        self.is_last = is_last
        self._content = content

    def blocks(self, start: int, end: int) -> Iterator[memoryview]:
        """The bytes from `start` up to `end`, both counted from where the stream began."""
        wanted = self._content[start - self.start : end - self.start]
        for position in range(0, len(wanted), BLOCK):
            yield wanted[position : position + BLOCK]


class Stream:
    """A stream that is read to its end, `window` bytes at a time.

    Raises LocalFileError when it can't be opened.
    """

    def __init__(self, path: Path, window: int | None = None) -> None:
        self.path = path
        self._window = window or WINDOW
        self._hash = hashlib.sha256()
        self._ended = False
        self._places = threading.Semaphore(_HELD)
        self._filled: queue.SimpleQueue[Window | LocalFileError] = queue.SimpleQueue()
        try:
            self._descriptor = (
                os.dup(0) if path == STDIN else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            )
        except OSError as error:
            raise LocalFileError(f"{path}: {error.strerror}") from None
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A thread that waits for bytes is left to the end of the process.
        self._ended = True
        self._places.release()

    def sha256(self) -> str:
        """Of the whole stream, in hex, once its last window was taken."""
        return self._hash.hexdigest()

    def windows(self) -> Iterator[Window]:
        """The windows in order. Each is let go of when the next one is asked for.

        Raises LocalFileError for a stream that can't be read.
        """
        while True:
            window = self._filled.get()
            if isinstance(window, LocalFileError):
                raise window
            yield window
            self._places.release()
            if window.is_last:
                self._thread.join()
                return

    def _run(self) -> None:
        try:
            self._read_windows()
        except OSError as error:
            self._filled.put(LocalFileError(f"{self.path}: {error.strerror}"))
        finally:
            os.close(self._descriptor)

    def _read_windows(self) -> None:
        start, ahead = 0, b""
        while True:
            self._places.acquire()
            if self._ended:
                return
            # Not written to before it is needed: what is short costs little memory.
            buffer = memoryview(bytearray(self._window))
            filled = self._fill(buffer, ahead)
            # Only one byte more tells whether the stream ends here.
            following = memoryview(bytearray(1))
            more = filled == len(buffer) and self._read(following)
            ahead = bytes(following) if more else b""
            self._hash.update(buffer[:filled])
            window = Window(start, buffer[:filled], is_last=not ahead)
            self._filled.put(window)
            if window.is_last:
                return
            start = window.end

    def _fill(self, buffer: memoryview, ahead: bytes) -> int:
        """Fill it with `ahead` and what follows; returns how many bytes there were."""
        filled = len(ahead)
        buffer[:filled] = ahead
        while filled < len(buffer):
            count = self._read(buffer[filled : filled + BLOCK])
            if not count:
                break
            filled += count
        return filled

    def _read(self, buffer: memoryview) -> int:
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                # Whoever has the other end, or had this one before, may have made it so.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.poll()
