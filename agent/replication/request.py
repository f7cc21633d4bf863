"""Another node's push, as its request's head tells it: which file, and which of its bytes. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.incoming.request_head import RequestHead, whole_number
from agent.problems import ProblemError
from portside.orders.copies import HEADER
from portside.wire import paths

CONTENT_RANGE = r"bytes (\d{1,18}-\d{1,18}|\*)/\d{1,18}"
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """The bytes a request brings: from `start` on, of a file of `size`.

    `start` is None where it brings none and asks for the end (`bytes */<size>`).
    """

    start: int | None
    length: int
    size: int


@dataclass(frozen=True, slots=True)
class ReplicateRequest:
    """A push's request without its body. `sha256` is that of the whole file."""

    method: str
    path: str
    authorization: str
    length: int
    range: Range | None
    sha256: str | None
    proof: str = ""
    """Of the copy, as `portside.orders.copies` says; empty without one."""
    address: str = ""
    """Where it came from, as nginx tells; empty without nginx."""


def replicate_request(head: RequestHead) -> ReplicateRequest:
    """What a push's head says. Raises ProblemError for what can't be understood."""
    pushing = head.method == "PUT"
    sent = _length(head) if pushing else 0
    return ReplicateRequest(
        method=head.method,
        path=_path_in(head),
        authorization=head.authorization,
        length=sent,
        range=_range(head.header("Content-Range"), sent) if pushing else None,
        sha256=head.digest("Repr-Digest"),
        proof=head.header(HEADER),
        address=head.address,
    )


def _path_in(head: RequestHead) -> str:
    try:
        return head.path_below(f"{paths.REPLICATE}/")
    except UnicodeDecodeError:
        raise ProblemError("path-refused", "the path in the URL is no UTF-8") from None


def _length(head: RequestHead) -> int:
    length = whole_number("Content-Length", head.content_length)
    if head.transfer_encoding or length is None:
        raise ProblemError("length-required", "a push says its Content-Length")
    return length


def _range(field: str, length: int) -> Range | None:
    """What Content-Range says (RFC 9110, section 14.4). Raises ProblemError."""
    if not field:
        return None
    match = _CONTENT_RANGE.fullmatch(field)
    if match is None:
        raise ProblemError(
            "malformed-request", "write Content-Range as 'bytes <first>-<last>/<size>'"
        )
    size = int(match[3])
    if match[1] is None:
        if length:
            raise ProblemError("malformed-request", "'bytes */<size>' goes without a body")
        return Range(None, 0, size)
    first, last = int(match[1]), int(match[2])
    if not first <= last < size or last - first + 1 != length:
        raise ProblemError(
            "malformed-request", "Content-Range doesn't fit the body's length or the file's"
        )
    return Range(first, length, size)
