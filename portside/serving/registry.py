"""Which generations are alive, told by the kernel: each holds a lock for as long as it lives.

The lock is one byte of a shared file, at the place of the process's number. POSIX locks (fcntl(2))
outlast execve(2), aren't handed on by fork(2), end with their process however it ends, and the
kernel tells who holds one. So nothing has to be cleaned up, and no number is mistaken for another
process that was given it later.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_FLOCK = "hhqqi"
"""struct flock (fcntl(2)): type, whence, start, length, process."""


class Registry:
    """The generations of one service, known by the number of their first process."""

    def __init__(self, path: Path) -> None:
        """Opens the file. Raises OSError."""
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def join(self) -> None:
        """Count this process as a generation, also after an exec. It must never close the file."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, os.getpid())
        os.set_inheritable(self._descriptor, True)

    def alive(self) -> list[int]:
        """The generations that run, other than this process."""
        found: list[int] = []
        start = 0
        while (holder := self._next(start)) is not None:
            start, process = holder
            found.append(process)
            start += 1
        return found

    def _next(self, start: int) -> tuple[int, int] | None:
        """Place and holder of the first lock from `start` on."""
        # A length of 0 is to the file's end.
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, 0, 0)
        answer = fcntl.fcntl(self._descriptor, fcntl.F_GETLK, asked)
        kind, _, place, _, process = struct.unpack(_FLOCK, answer)
        return None if kind == fcntl.F_UNLCK else (place, process)
