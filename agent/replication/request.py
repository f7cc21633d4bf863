"""What a request of another node's push says of itself, before its body. Pure.

As for uploads the facts come from the request, or from nginx's question about it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.problems import ProblemError
from portside.digest import DigestRefused, parse_repr_digest

REPLICATE_PATH = "/api/internal/replicate/"

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
class ReplicateFacts:
    """A push's request without its body. `sha256` is that of the whole file."""

    method: str
    path: str
    authorization: str
    length: int
    range: Range | None
    sha256: str | None


def from_request(environ: Mapping[str, Any]) -> ReplicateFacts:
    """The facts of the request itself. Raises ProblemError for what can't be understood."""
    return _facts(
        environ,
        method=environ["REQUEST_METHOD"],
        # RAW_URI, for PATH_INFO is decoded already: `%2F` in a name must not look like a path.
        uri=environ["RAW_URI"],
        length=environ.get("CONTENT_LENGTH", ""),
        transfer_encoding=environ.get("HTTP_TRANSFER_ENCODING", ""),
    )


def from_preflight(environ: Mapping[str, Any]) -> ReplicateFacts:
    """The facts nginx passes on about another request. Raises ProblemError as well."""
    return _facts(
        environ,
        method=environ.get("HTTP_X_ORIGINAL_METHOD", ""),
        uri=environ.get("HTTP_X_ORIGINAL_URI", ""),
        length=environ.get("HTTP_X_ORIGINAL_CONTENT_LENGTH", ""),
        transfer_encoding=environ.get("HTTP_X_ORIGINAL_TRANSFER_ENCODING", ""),
    )


def _facts(
    environ: Mapping[str, Any], method: str, uri: str, length: str, transfer_encoding: str
) -> ReplicateFacts:
    sent = _length(length, transfer_encoding) if method == "PUT" else 0
    return ReplicateFacts(
        method=method,
        path=_path_in(uri),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        length=sent,
        range=_range(environ.get("HTTP_CONTENT_RANGE", ""), sent) if method == "PUT" else None,
        sha256=_digest(environ.get("HTTP_REPR_DIGEST", "")),
    )


def _path_in(uri: str) -> str:
    try:
        return unquote(urlsplit(uri).path.removeprefix(REPLICATE_PATH), errors="strict")
    except UnicodeDecodeError:
        raise ProblemError("path-refused", "the path in the URL is no UTF-8") from None


def _length(length: str, transfer_encoding: str) -> int:
    if transfer_encoding or not length:
        raise ProblemError("length-required", "a push says its Content-Length")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise ProblemError("malformed-request", "Content-Length is no number")
    return int(length)


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


def _digest(field: str) -> str | None:
    if not field:
        return None
    try:
        return parse_repr_digest(field)
    except DigestRefused as error:
        raise ProblemError("malformed-request", str(error)) from None
