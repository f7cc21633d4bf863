"""What one part of a multipart form says of itself (RFC 7578, section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.incoming.digests import Digests, agreed, content_digest, repr_digest
from agent.incoming.disposition import disposition_name, disposition_parameters
from agent.incoming.whole_file import size_in_range
from agent.problems import ProblemError

_PLAIN = ("", "7bit", "8bit", "binary")
"""Content-Transfer-Encodings that leave the bytes as they are (RFC 2045, section 6.2)."""


@dataclass(frozen=True, slots=True)
class FormPart:
    """A part's headers, as WSGI would have them: a character for each byte."""

    headers: dict[str, str]

    @classmethod
    def of(cls, headers: Iterable[tuple[str, str]]) -> FormPart:
        """The part with these headers."""
        return cls({name.lower(): value.strip() for name, value in headers})

    def header(self, name: str) -> str:
        """A header's value, empty without it."""
        return self.headers.get(name.lower(), "")

    @property
    def name(self) -> str:
        """The field's name."""
        name = disposition_parameters(self._disposition).get("name", "")
        return name.encode("latin-1", errors="replace").decode(errors="replace")

    @property
    def is_file(self) -> bool:
        """Whether the part is what became of a file input, chosen or not."""
        return not {"filename", "filename*"}.isdisjoint(disposition_parameters(self._disposition))

    @property
    def was_chosen(self) -> bool:
        """Whether a file was chosen: browsers send an empty name otherwise, and no bytes."""
        parameters = disposition_parameters(self._disposition)
        return bool(parameters.get("filename") or parameters.get("filename*"))

    def filename(self, charset: str | None) -> str | None:
        """The file's name; None without one that can be read. `charset` is the form's own."""
        return disposition_name(self._disposition, charset) or None

    def check_is_whole_and_plain(self) -> int | None:
        """The file's size, if the part tells it. Raises ProblemError for what isn't a file's bytes.

        A part's Content-Length is the parser's to hold.
        """
        for header, plain in (
            ("Content-Transfer-Encoding", _PLAIN),
            ("Content-Encoding", ("", "identity")),
        ):
            coding = self.header(header).lower()
            if coding not in plain:
                raise ProblemError(
                    "media-type",
                    f"the file's part is encoded ({coding}) and would be stored so: send its bytes "
                    f"as they are, without {header}",
                )
        if self.header("Content-Type").lower().startswith("multipart/"):
            raise ProblemError("media-type", "several files in one part: send one file in a form")
        return size_in_range(self.header("Content-Range"))

    def digests(self) -> Digests:
        """What the part says that its bytes hash to. Raises ProblemError."""
        return agreed(content_digest(self), repr_digest(self))

    @property
    def _disposition(self) -> str:
        return self.header("Content-Disposition")
