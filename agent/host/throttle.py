"""No more bytes per second than agreed, for any number of readers or senders together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """A bound of bytes per second; None is without one. Thread-safe.

    The moment at which everything that was let through would have gone at the agreed rate (the
    generic cell rate algorithm, ITU-T I.371): who comes sooner waits. Idle time isn't made up for:
    a disk or a line that was busy isn't hit harder after.
    """

    def __init__(self, rate: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = 0.0

    def take(self, size: int) -> float:
        """Count `size` bytes; returns the seconds to wait before they go."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now)
            self._free_at = begin + size / self._rate
            return begin - now
