"""What becomes of a body that was answered before it had all come (RFC 9112, section 9.6).

nginx sends an upload on as it comes. Closing the connection under it would make nginx's next write
fail, and a failed write is a 502 to it, whatever answer lies ready: a refusal in the middle of an
upload would reach its client as "try again". So what still comes is read and thrown away until
nginx, which has the answer, closes the connection. How long clients send on after that is nginx's.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

PATIENCE = 10.0
"""Seconds for nginx to take an answer and hang up: milliseconds, but for a machine that stalls."""

_ROOM = 64 * 1024

_Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class UnreadBodies:
    """WSGI middleware: throws away what is left of a body once its answer is out.

    Only of connections that nginx uses once (`Connection: close`), as it does for uploads: what a
    kept one still brings, gunicorn reads.
    """

    def __init__(self, application: _Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """See PEP 3333."""
        answer = self._application(environ, start_response)
        if environ.get("HTTP_CONNECTION", "").lower() != "close":
            return answer
        return _Lingering(answer, environ)


class _Lingering:
    """An answer. gunicorn calls `close` when it is sent and before the connection is closed."""

    def __init__(self, answer: Iterable[bytes], environ: dict[str, Any]) -> None:
        self._answer = answer
        self._connection: socket.socket = environ["gunicorn.socket"]
        self._reader = environ["wsgi.input"].reader

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        """Let the answer go, then read until the other side has closed."""
        close = getattr(self._answer, "close", None)
        if close is not None:
            close()
        if self._is_unread():
            _linger(self._connection)

    def _is_unread(self) -> bool:
        # gunicorn's LengthReader counts what is left, its ChunkedReader lets its parser go.
        return bool(getattr(self._reader, "length", 0) or getattr(self._reader, "parser", None))


def _linger(connection: socket.socket) -> None:
    room = bytearray(_ROOM)
    ends = time.monotonic() + PATIENCE
    try:
        # Whoever reads an answer to the connection's end has it here.
        connection.shutdown(socket.SHUT_WR)
        while (left := ends - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv_into(room):
                return
    except OSError:
        # Gone, or silent for too long: either way nobody waits for more.
        return
