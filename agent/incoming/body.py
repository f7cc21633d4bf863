"""A request's body as something that fills buffers, however it is sent.

Two ways in: a body of known length straight from the connection (fast: one copy, no allocation),
and a chunked one through gunicorn's parser; `agent.incoming.form` finds the file of a form in
either. A body that ends early is an error here: gunicorn passes it off as a clean end.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from gunicorn.http.errors import ParseException

_CHUNK = 64 * 1024


class BodyCut(Exception):
    """The connection ended before the body did; `filled` bytes of the buffer had come by then."""

    def __init__(self, message: str, filled: int = 0) -> None:
        super().__init__(message)
        self.filled = filled


class Body(Protocol):
    """Bytes of one file."""

    def fill(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; less than its length, or 0, only at the body's end.

        Raises BodyCut when the connection ends first.
        """


class SizedBody:
    """A body of known length, received straight from the connection into the caller's buffer.

    gunicorn's parser has read ahead a little: those bytes come first, then recv(2) with MSG_WAITALL
    fills each buffer in as few calls as the kernel manages.
    """

    def __init__(self, environ: dict[str, Any], length: int) -> None:
        self._connection: socket.socket = environ["gunicorn.socket"]
        self._reader = environ["wsgi.input"].reader
        self._ahead = memoryview(self._take_ahead(length))
        self._left = length

    def _take_ahead(self, length: int) -> bytes:
        unreader = self._reader.unreader
        held: bytes = unreader.take_buffered()
        # What lies behind this body belongs to the connection's next request.
        unreader.unread(held[length:])
        return held[:length]

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill."""
        want = min(len(buffer), self._left)
        filled = self._fill_ahead(buffer[:want])
        while filled < want:
            try:
                count = self._connection.recv_into(
                    buffer[filled:want], want - filled, socket.MSG_WAITALL
                )
            except (ConnectionError, TimeoutError) as error:
                raise BodyCut(f"the connection broke: {error.strerror}", filled) from None
            if count == 0:
                missing = self._left - filled
                raise BodyCut(f"{missing} bytes were announced and never came", filled)
            filled += count
        self._left -= filled
        # gunicorn must not wait for these bytes when it looks for the next request.
        self._reader.length = self._left
        return filled

    def _fill_ahead(self, buffer: memoryview) -> int:
        count = min(len(self._ahead), len(buffer))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count


class ChunkedBody:
    """A body without a length (RFC 9112, section 7.1), through gunicorn's own parser."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self._input = environ["wsgi.input"]

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill."""
        filled = 0
        while filled < len(buffer):
            try:
                # In pieces: what gunicorn holds when the connection breaks is lost.
                data: bytes = self._input.read(min(_CHUNK, len(buffer) - filled))
            except (OSError, EOFError):
                # gunicorn's parser errors for a chunked body that ends early are OSErrors.
                raise BodyCut("the chunked body broke off", filled) from None
            except ParseException:
                raise BodyCut(
                    "the body is not in chunks as RFC 9112, section 7.1, has them", filled
                ) from None
            if not data:
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
        return filled


class EmptyBody:
    """No bytes at all."""

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill."""
        return 0
