"""Threads of gunicorn's beside the slots, and how many of them may wait for an upload.

Probes and preflights need them free. Whoever waits without a slot (for an older request to end, for
an idle one to give way) takes one for seconds, and however many come, only so many may.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from portside.sizing import SPARE_THREADS

MOST_WAITING = SPARE_THREADS // 2
"""One more may verify a file and one settle what is in quarantine: a quarter is always free."""


class SpareThreads:
    """Those of one agent process. Thread-safe."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._free = threading.Semaphore(most)

    @contextmanager
    def waiting(self) -> Iterator[bool]:
        """Whether this thread may wait, for as long as the context lasts."""
        may = self._free.acquire(blocking=False)
        try:
            yield may
        finally:
            if may:
                self._free.release()
