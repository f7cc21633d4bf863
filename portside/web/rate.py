"""How often somebody may do something: a token bucket each, kept as a single number.

The number is the moment at which the bucket will be full again (the generic cell rate algorithm,
ITU-T I.371): each event moves it on by one share of a minute, and it may be at most a minute away.
Whose bucket is full is one that was never seen, so idle ones are simply forgotten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_MINUTE = 60 * 10**9
"""Nanoseconds."""


class Rate:
    """Events of each key in the last minute. Thread-safe, in this process alone.

    A minute's events may come at once; after them one more each time a share has passed. Of more
    than `most` keys the one that came least lately is forgotten.
    """

    def __init__(
        self,
        per_minute: int,
        clock: Callable[[], int] = time.monotonic_ns,
        most: int | None = None,
    ) -> None:
        self.per_minute = per_minute
        self._most = most
        self._share = _MINUTE // per_minute
        self._clock = clock
        self._lock = threading.Lock()
        self._full_at: dict[str, int] = {}
        self._swept_at = clock()

    def wait(self, key: str) -> int:
        """Seconds until `key` may have another event, 0 if now: nothing is counted."""
        with self._lock:
            return self._wait(key, self._clock())

    def take(self, key: str) -> int:
        """Count an event and return 0; or count nothing and return the seconds to wait."""
        with self._lock:
            now = self._clock()
            seconds = self._wait(key, now)
            if not seconds:
                # Taken out first: a dict keeps the order in which keys came.
                self._full_at[key] = max(self._full_at.pop(key, now), now) + self._share
                self._forget_idle(now)
                if self._most is not None and len(self._full_at) > self._most:
                    del self._full_at[next(iter(self._full_at))]
            return seconds

    def _wait(self, key: str, now: int) -> int:
        early = self._full_at.get(key, now) + self._share - now - _MINUTE
        return max(0, -(-early // 10**9))

    def _forget_idle(self, now: int) -> None:
        # Once a minute, so that at most the keys of two minutes are in memory.
        if now - self._swept_at >= _MINUTE:
            self._full_at = {key: full for key, full in self._full_at.items() if full > now}
            self._swept_at = now

    def __len__(self) -> int:
        """Keys in memory."""
        with self._lock:
            return len(self._full_at)
