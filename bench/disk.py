"""The disk's own ceiling: the same bytes written and made durable without any network.

Two ways, for they differ: through the page cache as most servers write, and past it (O_DIRECT).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench.source import Source

_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DiskRun:
    """Seconds until everything was durable, and CPU seconds of the writing thread."""

    seconds: float
    cpu: float


def write(source: Source, directory: Path, direct: bool) -> DiskRun:
    """Copy `source` into `directory`, fdatasync, remove. Raises OSError where O_DIRECT can't."""
    target = directory / "disk-ceiling"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | (os.O_DIRECT if direct else 0)
    cpu, started = time.thread_time(), time.monotonic()
    # Anonymous memory is page-aligned, as O_DIRECT wants it (open(2), NOTES).
    with mmap.mmap(-1, _CHUNK) as buffer, source.path.open("rb", buffering=0) as file:
        output = os.open(target, flags, 0o600)
        try:
            while count := file.readinto(buffer):
                if count % mmap.PAGESIZE:
                    _through_the_cache(output)
                with memoryview(buffer) as view:
                    if os.write(output, view[:count]) != count:
                        raise OSError(f"short write to {target}")
            os.fdatasync(output)
        finally:
            os.close(output)
            target.unlink()
    return DiskRun(time.monotonic() - started, time.thread_time() - cpu)


def _through_the_cache(descriptor: int) -> None:
    # O_DIRECT writes whole blocks only: the file's last piece goes the ordinary way.
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_DIRECT)
