"""The file inside a multipart form (RFC 7578), streamed: nothing of it is spooled."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from multipart import MultipartError, MultipartSegment, PushMultipartParser

from agent.incoming.body import Body, BodyCut
from agent.incoming.digests import Digests, agreed, checked
from agent.incoming.form_part import FormPart
from agent.incoming.whole_file import Field, one_size, said_in_fields
from agent.problems import ProblemError

FORM_FIELD = "file"
_MAX_PARTS = 64
"""Widgets that cut files into parts send a dozen fields with each; forms by hand rarely more."""

_OTHER_FIELDS = 64 * 1024
"""Bytes of a form's other fields, before the file and behind it, that are read and kept."""

FORM_SHARE = 4
"""A form is read in quarters of a ring buffer: with the parser's copies, one ring buffer in all."""


class FormRefused(Exception):
    """A multipart body that can't be read or hasn't one file in it."""


class FormFile:
    """The part named `file` of a multipart form (RFC 7578), streamed: nothing is spooled.

    The form is read to its end: another file in it, or a field that says that this is a part of a
    file or has another size, refuses all of it.
    """

    def __init__(
        self, body: Body, boundary: str, buffer_size: int, announced: Digests | None = None
    ) -> None:
        """`announced`: what the file hashes to by the request's own head."""
        self._body = body
        self._buffer = bytearray(buffer_size)
        try:
            # Names in no UTF-8 are nothing to fail over before somebody wants one.
            self._parser = PushMultipartParser(
                boundary, max_segment_count=_MAX_PARTS, header_charset="latin-1"
            )
        except MultipartError as error:
            raise FormRefused(f"the form's boundary can't be used: {error}") from None
        self._events = self._parse()
        self._fields: list[Field] = []
        self._room = _OTHER_FIELDS
        self._part, first = self._find_file()
        self._told_size = self._part.check_is_whole_and_plain()
        self._digests = agreed(
            announced or {}, self._part.digests(), said_in_fields(self._fields).digests
        )
        self._content = checked(_Pieces(first, self._next_piece), self._digests)
        self._size = 0
        self._ended = False

    @property
    def filename(self) -> str | None:
        """The file's name, None without one that can be read."""
        charsets = [value.strip() for name, value in self._fields if name == "_charset_"]
        return self._part.filename(charsets[0] if charsets else None)

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill. After the file the rest of the form is read to its end."""
        if self._ended:
            return 0
        filled = self._content.fill(buffer)
        self._size += filled
        if filled < len(buffer):
            self._ended = True
            self._read_the_rest()
            self._check_what_was_said()
        return filled

    def _find_file(self) -> tuple[FormPart, bytes]:
        """The file's part, and the first of its bytes."""
        problem = f"the form has no part named {FORM_FIELD!r}"
        while (part := self._next_part()) is not None:
            first = self._next_piece()
            if part.name != FORM_FIELD:
                self._pass_by(part, first)
            elif first or part.was_chosen:
                return part, first
            else:
                problem = f"no file was chosen: the form's part {FORM_FIELD!r} is empty"
        raise FormRefused(problem)

    def _read_the_rest(self) -> None:
        while (part := self._next_part()) is not None:
            first = self._next_piece()
            if part.name == FORM_FIELD and (first or part.was_chosen):
                raise FormRefused("the form brings several files: send each in a form of its own")
            self._pass_by(part, first)

    def _pass_by(self, part: FormPart, first: bytes) -> None:
        """Keep what another field says. One with a file in it can't be passed by."""
        if part.is_file and (first or part.was_chosen):
            raise FormRefused(
                f"the form brings a file in {part.name!r}: send one file, in a part named "
                f"{FORM_FIELD!r}"
            )
        value, piece = b"", first
        while piece:
            value += piece
            self._room -= len(piece)
            if self._room < 0:
                raise FormRefused(
                    f"beside the file a form's fields may have {_OTHER_FIELDS} bytes in all"
                )
            piece = self._next_piece()
        self._fields.append((part.name, value.decode(errors="replace")))

    def _check_what_was_said(self) -> None:
        """Hold the form's other fields against the file. Raises ProblemError."""
        said = said_in_fields(self._fields)
        size = one_size([self._told_size, said.size])
        if size not in (None, self._size):
            raise ProblemError(
                "size-mismatch", f"the form says {size} bytes, its file has {self._size}"
            )
        if not said.digests.keys() <= self._digests.keys():
            raise FormRefused("a field with the file's digest belongs before the file")

    def _next_part(self) -> FormPart | None:
        for event in self._events:
            if isinstance(event, MultipartSegment):
                return FormPart.of(event.headerlist)
        return None

    def _next_piece(self) -> bytes:
        """More of the part that is being read; nothing at its end."""
        event = next(self._events, None)
        return bytes(event) if isinstance(event, bytes | bytearray) else b""

    def _parse(self) -> Iterator[MultipartSegment | bytes | bytearray | None]:
        try:
            while count := self._body.fill(memoryview(self._buffer)):
                yield from self._parser.parse(bytes(memoryview(self._buffer)[:count]))
            # Raises unless the closing boundary has been seen.
            self._parser.close()
        except BodyCut as cut:
            # What came last is in this form's own buffer, not in the caller's.
            raise type(cut)(str(cut)) from None
        except MultipartError as error:
            raise FormRefused(f"the multipart form can't be read: {error}") from None


class _Pieces:
    """A part's bytes as a body."""

    def __init__(self, first: bytes, following: Callable[[], bytes]) -> None:
        self._rest = memoryview(first)
        self._following = following

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill."""
        filled = 0
        while filled < len(buffer) and self._rest:
            count = min(len(self._rest), len(buffer) - filled)
            buffer[filled : filled + count] = self._rest[:count]
            self._rest = self._rest[count:] or memoryview(self._following())
            filled += count
        return filled
