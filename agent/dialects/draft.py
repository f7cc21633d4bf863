"""The IETF's draft (draft-ietf-httpbis-resumable-upload-12): its words, read and answered. Pure.

Clients name the draft they were written for by its interop version (its appendix B); one of the RFC
to be names none. What differs between them stands in one table. Its fields are structured ones (RFC
9651), and one that isn't what the draft says it is must be ignored, as if it had not been sent.
docs/design/draft-12.md has every requirement of the draft.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import http_sf

from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError, Slug
from portside.web.problems import RegisteredType

PARTIAL_TYPE = "application/partial-upload"
"""The media type of appended bytes (section 6)."""

MISMATCHING_OFFSET = RegisteredType("mismatching-upload-offset", HTTPStatus.CONFLICT)
INCONSISTENT_LENGTH = RegisteredType("inconsistent-upload-length", HTTPStatus.BAD_REQUEST)
COMPLETED = RegisteredType("completed-upload", HTTPStatus.BAD_REQUEST)
MISMATCHING_DIGEST = RegisteredType("digest-mismatching-values", HTTPStatus.BAD_REQUEST)
"""Of the digest fields' problem types (draft-ietf-httpapi-digest-fields-problem-types)."""

REGISTERED: dict[Slug, RegisteredType] = {
    "offset-mismatch": MISMATCHING_OFFSET,
    "size-mismatch": INCONSISTENT_LENGTH,
    "upload-complete": COMPLETED,
    "checksum-mismatch": MISMATCHING_DIGEST,
}
"""What the draft calls problems that have other names, and some another status, elsewhere."""


@dataclass(frozen=True, slots=True)
class Version:
    """What one interop version asks for that others don't. `number` is None where none is named."""

    number: str | None
    completeness: str = "Upload-Complete"
    """The field that tells whether an upload is complete."""
    whole_at: bool = True
    """The value of that field for an upload that is complete."""
    appends_have_type: bool = True
    """Whether an append is `application/partial-upload`."""
    last_may_be_silent: bool = False
    """Whether an append without that field is the last one."""
    length_is_end: bool = False
    """Whether the upload is complete with its last byte, whatever the request says."""

    def told(self, complete: bool) -> tuple[str, str]:
        """The field and its value for an answer."""
        return self.completeness, "?1" if complete == self.whole_at else "?0"

    def complete_in(self, head: RequestHead) -> bool | None:
        """Whether a request ends its upload; None when it says nothing that can be understood."""
        field = head.header(self.completeness)
        if not field and self.last_may_be_silent and head.method == "PATCH":
            return True
        value = _item(field)
        return value == self.whole_at if isinstance(value, bool) else None


_FINAL = Version(None)
"""Draft 12 as it is to become an RFC."""

_VERSIONS: dict[str | None, Version] = {
    each.number: each
    for each in (
        # Draft 01, iOS 17. Draft 02 turned the field round, draft 04 brought the media type.
        Version("3", "Upload-Incomplete", False, False, last_may_be_silent=True),
        Version("4", appends_have_type=False),
        # tus-js-client speaks 5 and 6; reading from a file it calls no chunk the last one.
        Version("5", appends_have_type=False, length_is_end=True),
        Version("6", length_is_end=True),
        Version("7"),
        Version("8"),
        Version("9"),
    )
}


def version_of(head: RequestHead) -> Version:
    """The version that a request is in; one that nobody knows is read as the newest."""
    named = _VERSIONS.get(head.header("Upload-Draft-Interop-Version"))
    if named is None and head.header("Upload-Incomplete") and not head.header("Upload-Complete"):
        return _VERSIONS["3"]
    return named or _FINAL


def is_spoken(head: RequestHead, media_type: str) -> bool:
    """Whether a request that brings bytes is in the draft's words."""
    fields = ("Upload-Complete", "Upload-Incomplete", "Upload-Draft-Interop-Version")
    return any(map(head.header, fields)) or media_type == PARTIAL_TYPE


def whole_number(value: str) -> int | None:
    """A number of bytes (RFC 9651, section 3.3.1); None for any other value."""
    number = _item(value)
    return number if type(number) is int and number >= 0 else None


def check_question(head: RequestHead) -> None:
    """Raise ProblemError for a question about the offset, or a cancellation, that tells one.

    The drafts up to 05 have it refused with 400: who sends that means an append.
    """
    for name in ("Upload-Offset", "Upload-Complete", "Upload-Incomplete"):
        if head.header(name):
            raise ProblemError(
                "malformed-request", f"{head.method} takes no {name}: bytes are appended with PATCH"
            )


@contextmanager
def refusals(head: RequestHead) -> Iterator[None]:
    """Problems in the block are told in the draft's words, unless the request was tus's."""
    try:
        yield
    except ProblemError as problem:
        if head.header("Tus-Resumable"):
            raise
        # "False" says that the answer is about the transfer, not what became of the file
        # (section 4.1.2).
        field, value = version_of(head).told(complete=False)
        headers = {field: value}
        if problem.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            # RFC 5789, section 2.2.
            headers["Accept-Patch"] = PARTIAL_TYPE
        raise problem.told_as(REGISTERED.get(problem.slug), headers) from None


def _item(value: str) -> Any:
    """A structured field's item without its parameters; None when it is none."""
    try:
        parsed: Any = http_sf.parse(value.encode("latin-1"), tltype="item")
    except ValueError:
        # RFC 9651, section 4.2: the field is ignored.
        return None
    item, _ = parsed
    return item
