"""How one admitted request's bytes come, and how it is told to give way while none do.

Only an admitted upload has one of these (`agent.uploads.admission`), and no body can be opened
without: whoever reads from a client holds a slot. Counted is the time in which the client is waited
for; what the node's own disk takes is nobody's slowness.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable


class Receiving:
    """One request's bytes: how far they are behind the least rate. Thread-safe.

    A bucket that leaks: waiting fills it by a second each second, every byte takes
    `1 / least_rate` seconds out. Bursts and steady senders on slow lines keep it empty.
    """

    __slots__ = ("_behind", "_clock", "_lock", "_seconds_a_byte", "_since", "_waker", "told")

    def __init__(self, least_rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`least_rate`: bytes per second."""
        self._clock = clock
        self._seconds_a_byte = 1 / least_rate
        self._behind = 0.0
        self._since: float | None = None
        self._lock = threading.Lock()
        self._waker: int | None = None
        self.told = False
        """Whether this upload was told to give way."""

    def begin(self) -> None:
        """The client is waited for from now on."""
        self._since = self._clock()

    def came(self, count: int) -> None:
        """So many bytes have come since it was waited for."""
        now = self._clock()
        if self._since is not None:
            waited = now - self._since
            self._behind = max(0.0, self._behind + waited - count * self._seconds_a_byte)
            self._since = now

    def rest(self) -> None:
        """The client isn't waited for any more: what it has sent is worked on."""
        self._since = None

    def idle_for(self) -> float:
        """Seconds by which the client is behind the least rate; 0 while it isn't waited for."""
        since = self._since
        return 0.0 if since is None else self._behind + self._clock() - since

    def give_way(self) -> None:
        """Tell whoever waits for this client's bytes to stop."""
        with self._lock:
            self.told = True
            if self._waker is not None:
                os.eventfd_write(self._waker, 1)

    def wait(self, connection: socket.socket) -> bool:
        """Wait until something comes, or the end of it. False when this upload is to give way."""
        with self._lock:
            if self.told:
                return False
            if self._waker is None:
                self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            waker = self._waker
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        poll.register(waker, select.POLLIN)
        poll.poll()
        return not self.told

    def close(self) -> None:
        """Nothing is waited for any more."""
        with self._lock:
            waker, self._waker = self._waker, None
        if waker is not None:
            os.close(waker)
