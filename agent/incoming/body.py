"""A request's body as something that fills buffers, however it is sent.

Two ways in: a body of known length straight from the connection (fast: one copy, no allocation),
and a chunked one through gunicorn's parser; `agent.incoming.form` finds the file of a form in
either. A body that ends early is an error here: gunicorn passes it off as a clean end.

Neither can be opened without a `Receiving`, which only an admitted upload has.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from gunicorn.http.errors import ParseException

from agent.incoming.receiving import Receiving

_CHUNK = 64 * 1024

_PIECE = 1024 * 1024
"""The most of a chunked body that is read before it is asked again whether more may come."""

_FAST = 2
"""Seconds in which a buffer is filled by one call. Longer ones are counted as they come, and can be
told to give way: few enough calls that a slow client costs nothing, and a fast one no more than
it did."""

_NEVER = struct.pack("ll", 0, 0)


class BodyCut(Exception):
    """The connection ended before the body did; `filled` bytes of the buffer had come by then."""

    def __init__(self, message: str, filled: int = 0) -> None:
        super().__init__(message)
        self.filled = filled


class TooSlow(BodyCut):
    """The client was waited for until its slot was needed for another."""


class HandedBack(BodyCut):
    """This process is to end; the client can go on with another one."""


class Body(Protocol):
    """Bytes of one file."""

    def fill(self, buffer: memoryview) -> int:
        """Fill `buffer` from the front; less than its length, or 0, only at the body's end.

        Raises BodyCut when the connection ends first.
        """


OpenBody = Callable[[Receiving], Body]
"""How a request's body is opened, once it is admitted."""


class SizedBody:
    """A body of known length, received straight from the connection into the caller's buffer.

    gunicorn's parser has read ahead a little: those bytes come first, then recv(2) with MSG_WAITALL
    fills each buffer in as few calls as the kernel manages.
    """

    def __init__(self, environ: dict[str, Any], length: int, receiving: Receiving) -> None:
        self._connection: socket.socket = environ["gunicorn.socket"]
        self._reader = environ["wsgi.input"].reader
        self._receiving = receiving
        self._ahead = memoryview(self._take_ahead(length))
        self._left = length
        self._return_after(struct.pack("ll", _FAST, 0))

    def _take_ahead(self, length: int) -> bytes:
        unreader = self._reader.unreader
        held: bytes = unreader.take_buffered()
        # What lies behind this body belongs to the connection's next request.
        unreader.unread(held[length:])
        return held[:length]

    def _return_after(self, seconds: bytes) -> None:
        # The kernel's own time-out: MSG_WAITALL then returns what came by then (socket(7)).
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill. Raises TooSlow or HandedBack when it is to give way."""
        want = min(len(buffer), self._left)
        filled = self._fill_ahead(buffer[:want])
        self._receiving.begin()
        try:
            if self._receiving.pace is None:
                filled = self._fill_from_connection(buffer[:want], filled)
            else:
                filled = self._fill_in_pieces(buffer[:want], filled)
        finally:
            self._receiving.rest()
        self._left -= filled
        if not self._left:
            self._return_after(_NEVER)
        # gunicorn must not wait for these bytes when it looks for the next request.
        self._reader.length = self._left
        return filled

    def _fill_in_pieces(self, buffer: memoryview, filled: int) -> int:
        """As fast as the bytes may come."""
        self._receiving.let_in(self._connection, filled)
        while filled < len(buffer):
            piece = self._receiving.piece(self._connection, len(buffer) - filled)
            filled = self._fill_from_connection(buffer[: filled + piece], filled)
        return filled

    def _fill_from_connection(self, buffer: memoryview, filled: int) -> int:
        is_fast = True
        while filled < len(buffer):
            if self._receiving.told or not (is_fast or self._receiving.wait(self._connection)):
                raise _given_way(self._receiving, filled)
            count = self._receive(buffer[filled:], filled, is_fast)
            self._receiving.came(count)
            filled += count
            is_fast = False
        return filled

    def _receive(self, room: memoryview, filled: int, is_fast: bool) -> int:
        """Bytes into `room`, behind the `filled` before it; 0 when none came in time."""
        how = socket.MSG_WAITALL if is_fast else socket.MSG_DONTWAIT
        try:
            count = self._connection.recv_into(room, len(room), how)
        except BlockingIOError:
            return 0
        except (ConnectionError, TimeoutError) as error:
            raise BodyCut(f"the connection broke: {error.strerror}", filled) from None
        if count == 0:
            missing = self._left - filled
            raise BodyCut(f"{missing} bytes were announced and never came", filled)
        return count

    def _fill_ahead(self, buffer: memoryview) -> int:
        count = min(len(self._ahead), len(buffer))
        buffer[:count] = self._ahead[:count]
        self._ahead = self._ahead[count:]
        return count


class ChunkedBody:
    """A body without a length (RFC 9112, section 7.1), through gunicorn's own parser."""

    def __init__(self, environ: dict[str, Any], receiving: Receiving) -> None:
        self._input = environ["wsgi.input"]
        self._unreader = self._input.reader.req.unreader
        self._connection: socket.socket = environ["gunicorn.socket"]
        self._watched = _Watched(self._connection, receiving)
        self._receiving = receiving
        self._ahead = self._count_ahead()

    def _count_ahead(self) -> int:
        """Bytes that gunicorn's parser has read with the head."""
        held: bytes = self._unreader.take_buffered()
        self._unreader.unread(held)
        return len(held)

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill. Raises TooSlow or HandedBack when it is to give way."""
        self._receiving.begin()
        ordinary, self._unreader.sock = self._unreader.sock, self._watched
        try:
            ahead, self._ahead = self._ahead, 0
            self._receiving.let_in(self._connection, ahead)
            return self._fill(buffer)
        finally:
            self._receiving.rest()
            self._unreader.sock = ordinary

    def _fill(self, buffer: memoryview) -> int:
        filled = 0
        while filled < len(buffer):
            try:
                data: bytes = self._input.read(min(_CHUNK, len(buffer) - filled))
            except _GivesWay:
                filled += self._salvage(buffer[filled:])
                raise _given_way(self._receiving, filled) from None
            except (OSError, EOFError):
                # gunicorn's parser errors for a chunked body that ends early are OSErrors.
                filled += self._salvage(buffer[filled:])
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

    def _salvage(self, room: memoryview) -> int:
        """What gunicorn's parser has read of the body and not given out yet."""
        held = self._input.buf.getvalue() + self._input.reader.buf.getvalue()
        count = min(len(held), len(room))
        room[:count] = held[:count]
        return count


def _given_way(receiving: Receiving, filled: int) -> BodyCut:
    if receiving.handed_back:
        return HandedBack("another process of the node takes over", filled)
    return TooSlow("nothing, or next to nothing, came for too long", filled)


class _GivesWay(Exception):
    """Raised through gunicorn's parser."""


class _Watched:
    """The connection as gunicorn's parser reads it."""

    def __init__(self, connection: socket.socket, receiving: Receiving) -> None:
        self._connection = connection
        self._receiving = receiving
        self._allowed = 0 if receiving.pace else sys.maxsize
        """Bytes that may be read before the next piece is asked for: the parser reads a few."""

    def recv(self, size: int) -> bytes:
        """As socket.recv. Raises _GivesWay."""
        if self._allowed <= 0:
            self._allowed = self._receiving.piece(self._connection, _PIECE)
        while not self._receiving.told:
            try:
                data = self._connection.recv(min(size, self._allowed), socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._receiving.wait(self._connection)
                continue
            self._receiving.came(len(data))
            self._allowed -= len(data)
            return data
        raise _GivesWay


class EmptyBody:
    """No bytes at all."""

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill."""
        return 0
