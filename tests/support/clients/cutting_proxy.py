"""A line to a server that breaks at a chosen byte, and tells how many it carried.

Between client and nginx, so that both see what they see on a real line: the end of all connections.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from tests.support.loopback import reserved_port, wait_until_read

Way = Literal["up", "down"]

_PIECE = 64 * 1024


class CuttingProxy:
    """Listens on a port of 127.0.0.1 and carries bytes to and from another."""

    def __init__(self) -> None:
        self.port = reserved_port(self)
        self._lock = threading.Lock()
        self._carried: dict[Way, int] = {"up": 0, "down": 0}
        self._left: dict[Way, int | None] = {"up": None, "down": None}
        self._open: set[socket.socket] = set()
        self._broken = False
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=64)

    @contextmanager
    def leading_to(self, port: int, settled: Callable[[], object]) -> Iterator[None]:
        """Carry bytes to and from `port`. A line that broke is back when `settled` returns."""
        accepting = threading.Thread(target=self._accept, args=(port, settled), daemon=True)
        accepting.start()
        yield
        self._listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        self._listener.close()

    def cut_after(self, way: Way, count: int) -> None:
        """Break after so many bytes from now on, once, with every connection that is open."""
        with self._lock:
            self._left[way] = count
            self._carried[way] = 0

    def carried(self, way: Way) -> int:
        """Bytes since the last `cut_after` for this way."""
        with self._lock:
            return self._carried[way]

    def was_cut(self, way: Way) -> bool:
        """Whether what was ordered has happened."""
        with self._lock:
            return self._left[way] is None

    def _accept(self, port: int, settled: Callable[[], object]) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                was_broken, self._broken = self._broken, False
            if was_broken:
                # How far an upload came is certain when all that came before is through.
                settled()
            server = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        ends = {client, server}
        with self._lock:
            self._open |= ends
        back = threading.Thread(target=self._pass_on, args=(server, client, "down"))
        back.start()
        self._pass_on(client, server, "up")
        back.join()
        with self._lock:
            self._open -= ends
            for end in ends:
                end.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: Way) -> None:
        # Either side may hang up at any moment.
        with suppress(OSError):
            while data := source.recv(_PIECE):
                allowed = self._count(way, len(data))
                target.sendall(data[:allowed])
                if allowed < len(data):
                    # On a busy computer all of it may lie before a server that hasn't looked yet.
                    wait_until_read(target)
                    self._break()
            target.shutdown(socket.SHUT_WR)
            return
        _hang_up({source, target})

    def _break(self) -> None:
        with self._lock:
            self._broken = True
            _hang_up(self._open)

    def _count(self, way: Way, count: int) -> int:
        """How many of `count` bytes may pass; none is left to allow where the line breaks."""
        with self._lock:
            left = self._left[way]
            if left is not None and count > left:
                self._left[way], count = None, left
            elif left is not None:
                self._left[way] = left - count
            self._carried[way] += count
            return count


def _hang_up(ends: set[socket.socket]) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
