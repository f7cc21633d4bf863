"""How nodes and the control plane say what went wrong, and what is wrong with a message.

In words for whoever sent it: no patterns, no names of classes.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from portside.digest import SHA256_HEX
from portside.wire import fields
from portside.wire.base import Message
from portside.wire.bounds import Label, Prose, Whole


class Problem(Message):
    """An error as `application/problem+json` (RFC 9457); `type` is for programs to switch on.

    `request_id` is what the node's log has about a request that failed through no fault of its
    sender.
    """

    type: Prose
    title: Prose
    status: Whole
    detail: Prose
    instance: Prose | None = None
    request_id: Label | None = None

    # Some problems have members of their own (RFC 9457, section 3.2): `expected-offset`.
    model_config = ConfigDict(frozen=True, extra="allow")


PROBLEM_PREFIX = "urn:portside:problem:"
"""What every problem type starts with; the rest is a short name such as `name-taken`."""

REGISTERED_PREFIX = "https://iana.org/assignments/http-problem-types#"
"""What the problem types of IANA's registry start with (RFC 9457, section 4.2)."""

_MOST_MISTAKES = 5
"""Mistakes that are told at once."""

_FORMS = {
    fields.FILE_ID_PATTERN: "32 hex digits in lower case",
    SHA256_HEX: "a SHA-256 as 64 hex digits in lower case",
    fields.JTI_PATTERN: "8 to 128 letters, digits and . _ ~ -",
    fields.OWNER_PATTERN: "1 to 128 characters, none of them a control character",
    fields.NAMESPACE_PATTERN: "1 to 64 of a-z, 0-9, _ and -, the first of them a letter or digit",
    fields.NAMESPACE_OR_ALL_PATTERN: "a namespace, or * for every one",
    fields.APP_ID_PATTERN: "1 to 63 of a-z, 0-9 and -, the first of them a letter or digit",
    fields.NODE_ID_PATTERN: "1 to 63 of a-z, 0-9 and -, with no - at either end",
    fields.REGION_PATTERN: "1 to 32 of a-z, 0-9 and -",
    fields.MEDIA_TYPE_PATTERN: "a media type, as in image/png",
    fields.MEDIA_RANGE_PATTERN: "a media type, as in image/png or image/*",
}


def in_words(error: ValidationError) -> str:
    """The first mistakes, each with where it is."""
    found = error.errors(include_input=False, include_url=False)
    return "; ".join(_each(found[:_MOST_MISTAKES]))


def _each(found: list[ErrorDetails]) -> Iterator[str]:
    for mistake in found:
        where = ".".join(str(part) for part in mistake["loc"])
        what = _what(mistake)
        yield f"{where}: {what}" if where else what


def _what(mistake: ErrorDetails) -> str:
    if mistake["type"] == "string_pattern_mismatch":
        form = _FORMS.get(mistake["ctx"]["pattern"])
        return "has not the form that it must have" if form is None else f"must be {form}"
    return mistake["msg"].removeprefix("Value error, ")
