"""A request's body as something that fills buffers, however it is sent.

Three ways in: a raw body of known length straight from the connection (fast: one copy, no
allocation), a chunked one through gunicorn's parser, and the file inside a multipart form on top of
either. A body that ends early is an error here: gunicorn passes it off as a clean end.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any, Protocol

from multipart import MultipartError, MultipartSegment, PushMultipartParser

FORM_FIELD = "file"
_MAX_PARTS = 16
_CHUNK = 64 * 1024
_OTHER_FIELDS = 64 * 1024
"""Bytes of a form's other fields that are read past before the file comes."""


class BodyCut(Exception):
    """The connection ended before the body did; `filled` bytes of the buffer had come by then."""

    def __init__(self, message: str, filled: int = 0) -> None:
        super().__init__(message)
        self.filled = filled


class FormRefused(Exception):
    """A multipart body that can't be read or has no file in it."""


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
            except (OSError, EOFError) as error:
                # gunicorn's parser errors for a chunked body that ends early are OSErrors.
                raise BodyCut(f"the chunked body broke off: {error}", filled) from None
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


FORM_SHARE = 4
"""A form is read in quarters of a ring buffer: with the parser's copies, one ring buffer in all."""


class FormFile:
    """The part named `file` of a multipart form (RFC 7578), streamed: nothing is spooled."""

    def __init__(self, body: Body, boundary: str, buffer_size: int) -> None:
        self._body = body
        self._buffer = bytearray(buffer_size)
        try:
            self._parser = PushMultipartParser(boundary, max_segment_count=_MAX_PARTS)
        except MultipartError as error:
            raise FormRefused(f"the form's boundary can't be used: {error}") from None
        self._events = self._parse()
        self._rest = memoryview(b"")
        self._ended = False
        self.filename = self._find_file()

    def _find_file(self) -> str | None:
        skipped = 0
        for event in self._events:
            if isinstance(event, MultipartSegment):
                if event.name == FORM_FIELD:
                    filename: str | None = event.filename
                    return filename
            elif event is not None:
                skipped += len(event)
                if skipped > _OTHER_FIELDS:
                    raise FormRefused(f"put the part named {FORM_FIELD!r} before other large ones")
        raise FormRefused(f"the form has no part named {FORM_FIELD!r}")

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill. After the file the rest of the form is read to its end."""
        filled = 0
        while filled < len(buffer) and not self._ended:
            if not self._rest:
                self._next_piece()
                continue
            count = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return filled

    def _next_piece(self) -> None:
        event = next(self._events, None)
        if event is None:
            self._ended = True
            for _ in self._events:
                pass
        else:
            self._rest = memoryview(event)

    def _parse(self) -> Iterator[MultipartSegment | bytes | bytearray | None]:
        try:
            while count := self._body.fill(memoryview(self._buffer)):
                yield from self._parser.parse(bytes(memoryview(self._buffer)[:count]))
            # Raises unless the closing boundary has been seen.
            self._parser.close()
        except BodyCut as cut:
            # What came last is in this form's own buffer, not in the caller's.
            raise BodyCut(str(cut)) from None
        except MultipartError as error:
            raise FormRefused(f"the multipart form can't be read: {error}") from None
