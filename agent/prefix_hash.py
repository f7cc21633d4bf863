"""The SHA-256 of a file that is written in parts, worked out behind the writers.

Parts arrive side by side, a digest wants them one after the other: whatever is there without a gap
is read back and hashed while the rest arrives, so that joining the parts at the end waits for the
last of them only. After a restart it begins at the file's beginning again.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from agent.sha256 import Sha256
from agent.staging import DiskFailed

_BLOCK = 4096


class PrefixHash:
    """One file's digest under way. Thread-safe; its thread lives only while there is work."""

    def __init__(self, path: Path, buffer_size: int) -> None:
        self._path = path
        self._buffer_size = buffer_size
        self._changed = threading.Condition()
        self._digest = Sha256()
        self._position = 0
        self._frontier = 0
        self._running = False
        self._error: OSError | None = None

    def advance(self, frontier: int) -> None:
        """Bytes up to `frontier` won't change any more: hash up to there in the background."""
        with self._changed:
            self._frontier = max(self._frontier, frontier)
            if not self._running and self._error is None and self._position < self._frontier:
                self._running = True
                threading.Thread(target=self._run, name="prefix-hash", daemon=True).start()

    def hexdigest(self, size: int) -> str:
        """Wait for the digest of the first `size` bytes. Raises DiskFailed.

        Raises ValueError when more of the file was hashed already: it is another file's digest.
        """
        self.advance(size)
        with self._changed:
            while self._error is None and self._position < size:
                self._changed.wait()
            if self._error is not None:
                raise DiskFailed(f"reading back failed: {self._error.strerror}") from self._error
            if self._position != size:
                raise ValueError(f"{self._position} bytes are hashed, not {size}")
            return self._digest.hexdigest()

    def _run(self) -> None:
        try:
            with _Reader(self._path, self._buffer_size) as reader:
                while (end := self._next_end()) is not None:
                    self._hash(reader, end)
        except OSError as error:
            with self._changed:
                self._error, self._running = error, False
                self._changed.notify_all()

    def _next_end(self) -> int | None:
        with self._changed:
            if self._position < self._frontier:
                return self._frontier
            self._running = False
            return None

    def _hash(self, reader: _Reader, end: int) -> None:
        coming = reader.begin(self._position, end)
        while self._position < end:
            data = coming.result()
            if not data:
                raise OSError(errno.EIO, "the file is shorter than what was written to it")
            if self._position + len(data) < end:
                # The next piece is read while this one is hashed.
                coming = reader.begin(self._position + len(data), end)
            self._digest.update(data)
            with self._changed:
                self._position += len(data)
                self._changed.notify_all()


class _Reader:
    """Reads past the page cache where it can: what was just written isn't in it."""

    def __init__(self, path: Path, buffer_size: int) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._free, self._lent = (
            memoryview(mmap.mmap(-1, buffer_size, flags=private)) for _ in range(2)
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefix-read")
        self._cached = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._direct: int | None
        try:
            self._direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                os.close(self._cached)
                raise
            self._direct = None

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        os.close(self._cached)
        if self._direct is not None:
            os.close(self._direct)

    def begin(self, position: int, end: int) -> Future[memoryview]:
        """Read from `position` on, at most up to `end`; what the call before brought stays."""
        self._free, self._lent = self._lent, self._free
        return self._thread.submit(self._read, self._lent, position, end)

    def _read(self, memory: memoryview, position: int, end: int) -> memoryview:
        room = memory[: end - position]
        blocks = len(room) - len(room) % _BLOCK
        if self._direct is None or position % _BLOCK or not blocks:
            # Up to the next block's boundary, or the odd end of the file.
            odd = room[: -position % _BLOCK or _BLOCK] if self._direct is not None else room
            return odd[: os.preadv(self._cached, [odd], position)]
        return room[: os.preadv(self._direct, [room[:blocks]], position)]
