"""The file inside a multipart form (RFC 7578), streamed: nothing of it is spooled."""

from __future__ import annotations

from collections.abc import Iterator

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from agent.incoming.body import Body, BodyCut

FORM_FIELD = "file"
_MAX_PARTS = 16
_OTHER_FIELDS = 64 * 1024
"""Bytes of a form's other fields that are read past before the file comes."""

FORM_SHARE = 4
"""A form is read in quarters of a ring buffer: with the parser's copies, one ring buffer in all."""


class FormRefused(Exception):
    """A multipart body that can't be read or has no file in it."""


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
