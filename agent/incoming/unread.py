"""What becomes of a connection once its answer is out (RFC 9112, section 9.6).

nginx sends an upload on as it comes. Closing the connection under it would make nginx's next write
fail, and a failed write is a 502 to it, whatever answer lies ready: a refusal in the middle of an
upload would reach its client as "try again". So what still comes is read and thrown away until
nginx, which has the answer, closes the connection. How long clients send on after that is nginx's.

nginx may take its time over that, and who sends it a body may make it: one thread does so for all,
and none that serves requests ever waits.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PATIENCE = 10.0
"""Seconds for nginx to take an answer and hang up: milliseconds, but for a machine that stalls."""

MOST = 256
"""Connections that are waited for at once; the oldest is closed for one more."""

_ROOM = 64 * 1024

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class UnreadBodies:
    """WSGI middleware: takes connections over from gunicorn once their answer is out.

    Only those that nginx uses once (`Connection: close`), as it does for uploads: what a kept one
    still brings, gunicorn reads.
    """

    def __init__(self, application: _Application) -> None:
        self._application = application
        self._closing = Closing()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See PEP 3333."""
        answer = self._application(environ, start_response)
        if environ.get("HTTP_CONNECTION", "").lower() != "close":
            return answer
        return _Answer(answer, environ["gunicorn.socket"], self._closing)


class _Answer:
    """An answer. gunicorn calls `close` when it is sent and before the connection is closed."""

    def __init__(
        self, answer: Iterable[bytes], connection: socket.socket, closing: Closing
    ) -> None:
        self._answer = answer
        self._connection = connection
        self._closing = closing

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Let the answer go, and the connection with it."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()
        self._closing.take(self._connection)


class Closing:
    """Connections whose other side has yet to hang up. Thread-safe."""

    def __init__(self, patience: float = PATIENCE, most: int = MOST) -> None:
        self._patience = patience
        self._most = most
        self._lock = threading.Lock()
        # With the moment at which each is given up: the oldest is the first.
        self._open: OrderedDict[socket.socket, float] = OrderedDict()
        self._selector = selectors.DefaultSelector()
        self._running = False
        self._room = bytearray(_ROOM)

    def take(self, connection: socket.socket) -> None:
        """Read what still comes until the other side closes; gunicorn is left nothing to wait for.

        It would wait in the one thread that takes in requests (gunicorn.util.close_graceful).
        """
        try:
            ours = connection.dup()
        except OSError:
            return
        _replace_by_nothing(connection)
        try:
            # Whoever reads an answer to the connection's end has it here.
            ours.shutdown(socket.SHUT_WR)
        except OSError:
            ours.close()
            return
        ours.setblocking(False)
        with self._lock:
            if len(self._open) >= self._most:
                self._drop(next(iter(self._open)))
            self._open[ours] = time.monotonic() + self._patience
            self._selector.register(ours, selectors.EVENT_READ)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="closing", daemon=True).start()

    def _run(self) -> None:
        while self._go_on():
            for key, _ in self._selector.select(1.0):
                if isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)

    def _go_on(self) -> bool:
        """Close what took too long; whether any is left."""
        with self._lock:
            now = time.monotonic()
            for each in [each for each, until in self._open.items() if until <= now]:
                self._drop(each)
            self._running = bool(self._open)
            return self._running

    def _read(self, connection: socket.socket) -> None:
        with self._lock:
            if connection not in self._open:
                return
            try:
                ended = not connection.recv_into(self._room)
            except BlockingIOError:
                return
            except OSError:
                ended = True
            if ended:
                self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._open[connection]
        self._selector.unregister(connection)
        connection.close()


def _replace_by_nothing(connection: socket.socket) -> None:
    """Put a socket that is at its end in the place of gunicorn's, which closes that."""
    nothing, other = socket.socketpair()
    other.close()
    with nothing:
        os.dup2(nothing.fileno(), connection.fileno(), inheritable=False)
