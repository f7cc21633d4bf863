"""Reading a file piece by piece, the next one while the last is worked on.

Past the page cache where the filesystem can: what was just written isn't in it, and what is read
once needn't be kept.
"""

from __future__ import annotations

import errno
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

_BLOCK = 4096


class ReadAhead:
    """One file, opened for reading; two buffers of `buffer_size` bytes. Ends with its context.

    Raises OSError when it is opened or read.
    """

    def __init__(self, path: Path, buffer_size: int) -> None:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._free, self._lent = (
            memoryview(mmap.mmap(-1, buffer_size, flags=private)) for _ in range(2)
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._cached = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._direct: int | None
        try:
            self._direct = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
        except OSError as error:
            if error.errno != errno.EINVAL:
                os.close(self._cached)
                raise
            self._direct = None

    def __enter__(self) -> ReadAhead:
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
