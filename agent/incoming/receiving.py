"""How one admitted request's bytes come, and how it is told to give way while none do.

Only an admitted upload has one of these (`agent.uploads.admission`), and no body can be opened
without: whoever reads from a client holds a slot. Counted is the time in which the client is waited
for; what the node's own disk takes, and the time in which a bound of bandwidth lets nothing in, is
nobody's slowness.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Protocol


class Pace(Protocol):
    """How fast the bytes of one request may come."""

    def piece(self, most: int) -> tuple[int, float]:
        """How many of `most` may be read now; 0 and the seconds to wait where none may yet."""

    def came(self, count: int) -> None:
        """So many have come."""

    def leave(self) -> None:
        """No more will come."""


class Receiving:
    """One request's bytes: how far they are behind the least rate. Thread-safe.

    A bucket that leaks: waiting fills it by a second each second, every byte takes
    `1 / least_rate` seconds out. Bursts and steady senders on slow lines keep it empty.
    """

    __slots__ = (
        *("_behind", "_clock", "_lock", "_seconds_a_byte", "_since", "_waker"),
        *("handed_back", "pace", "told"),
    )

    def __init__(
        self,
        least_rate: int,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
    ) -> None:
        """`least_rate`: bytes per second."""
        self._clock = clock
        self._seconds_a_byte = 1 / least_rate
        self._behind = 0.0
        self._since: float | None = None
        self._lock = threading.Lock()
        self._waker: int | None = None
        self.pace = pace
        """None where nothing bounds how fast bytes come: then nobody asks for a piece."""
        self.told = False
        """Whether this upload was told to give way."""
        self.handed_back = False
        """Whether that was because its client can go on with it in a process that stays."""

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
        if self.pace is not None:
            self.pace.came(count)

    def rest(self) -> None:
        """The client isn't waited for any more: what it has sent is worked on."""
        self._since = None

    def idle_for(self) -> float:
        """Seconds by which the client is behind the least rate; 0 while it isn't waited for."""
        since = self._since
        return 0.0 if since is None else self._behind + self._clock() - since

    def give_way(self, *, handed_back: bool = False) -> None:
        """Tell whoever waits for this client's bytes to stop."""
        with self._lock:
            self.handed_back = handed_back
            self.told = True
            if self._waker is not None:
                os.eventfd_write(self._waker, 1)

    def wait(self, connection: socket.socket) -> bool:
        """Wait until something comes, or the end of it. False when this upload is to give way."""
        self._poll(connection, select.POLLIN, None)
        return not self.told

    def piece(self, connection: socket.socket, most: int) -> int:
        """How many of `most` bytes may be read now, once any may.

        The client isn't waited for meanwhile. When it hangs up, or this upload is to give way, what
        it has sent may be read at once.
        """
        if self.pace is None:
            return most
        piece, seconds = self.pace.piece(most)
        while not piece:
            self.rest()
            if self.told or self._poll(connection, select.POLLRDHUP, seconds):
                piece = most
            else:
                piece, seconds = self.pace.piece(most)
        if self._since is None:
            self.begin()
        return piece

    def let_in(self, connection: socket.socket, ahead: int) -> None:
        """Count bytes that came with the request's head, once any may be read."""
        if ahead and self.pace is not None:
            self.piece(connection, ahead)
            self.came(ahead)

    def _poll(self, connection: socket.socket, event: int, seconds: float | None) -> bool:
        """Wait for `event`, to be told to give way, or for so long; whether it was not for that."""
        with self._lock:
            if self.told:
                return True
            if self._waker is None:
                self._waker = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            waker = self._waker
        poll = select.poll()
        poll.register(connection, event)
        poll.register(waker, select.POLLIN)
        return bool(poll.poll(None if seconds is None else 1000 * seconds))

    def close(self) -> None:
        """Nothing is waited for any more."""
        with self._lock:
            waker, self._waker = self._waker, None
        if waker is not None:
            os.close(waker)
        if self.pace is not None:
            self.pace.leave()
