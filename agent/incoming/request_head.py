"""A request before its body, read alike from the request itself and from nginx's question about it.

nginx asks the agent about an upload before it reads a byte of the body, and passes on what the
original request said in `X-Original-*` headers; the upload itself has it in its own. Only nginx can
reach the preflight, so those headers can be believed. What each kind of request makes of its head
is said in `agent.uploads.request`, `agent.dialects.request` and `agent.replication.request`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from agent.problems import ProblemError
from portside.digest import DigestRefused, parse_repr_digest

_LARGEST = 2**63 - 1
"""Bytes: what a file's size can be told in on disk and in the index."""


def path_of(target: str) -> str:
    """The path of a request's target as it was sent, whatever that is."""
    # Two slashes at its beginning name no host in a request line (RFC 9112, section 3.2.1).
    # They come of a base URL with a slash at its end, and are one.
    if target.startswith("/"):
        return "/" + re.split("[?#]", target, maxsplit=1)[0].lstrip("/")
    try:
        return urlsplit(target).path
    except ValueError:
        return target


def query_of(target: str) -> str:
    """What stands behind the question mark of a request's target, as it was sent."""
    return target.partition("#")[0].partition("?")[2]


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request line and headers. `uri` is as it was sent; absent headers are empty."""

    method: str
    uri: str
    content_length: str
    content_type: str
    transfer_encoding: str
    expect: str
    _environ: Mapping[str, Any]

    @classmethod
    def of_request(cls, environ: Mapping[str, Any]) -> RequestHead:
        """The head of the request that this is the environment of (PEP 3333)."""
        return cls(
            method=environ["REQUEST_METHOD"],
            # RAW_URI, for PATH_INFO is decoded already: `%2F` in a name must not look like a path.
            uri=environ["RAW_URI"],
            content_length=environ.get("CONTENT_LENGTH", ""),
            content_type=environ.get("CONTENT_TYPE", ""),
            transfer_encoding=environ.get("HTTP_TRANSFER_ENCODING", ""),
            expect=environ.get("HTTP_EXPECT", ""),
            _environ=environ,
        )

    @classmethod
    def of_question(cls, environ: Mapping[str, Any]) -> RequestHead:
        """The head of the request that nginx asks about."""
        return cls(
            method=environ.get("HTTP_X_ORIGINAL_METHOD", ""),
            uri=environ.get("HTTP_X_ORIGINAL_URI", ""),
            content_length=environ.get("HTTP_X_ORIGINAL_CONTENT_LENGTH", ""),
            content_type=environ.get("HTTP_X_ORIGINAL_CONTENT_TYPE", ""),
            transfer_encoding=environ.get("HTTP_X_ORIGINAL_TRANSFER_ENCODING", ""),
            expect=environ.get("HTTP_X_ORIGINAL_EXPECT", ""),
            _environ=environ,
        )

    @property
    def path(self) -> str:
        """The path as it was sent, percent-encoded."""
        return path_of(self.uri)

    @property
    def query(self) -> str:
        """What stands behind the path's question mark, as it was sent."""
        return query_of(self.uri)

    @property
    def authorization(self) -> str:
        """The Authorization header."""
        return self.header("Authorization")

    @property
    def address(self) -> str:
        """Where the request came from, as nginx tells; empty without nginx."""
        return self.header("X-Forwarded-For")

    def header(self, name: str) -> str:
        """A header that nginx passes on as it is; empty without it."""
        return str(self._environ.get(f"HTTP_{name.upper().replace('-', '_')}", "")).strip()

    def fields(self) -> list[tuple[str, str]]:
        """Every header that nginx passes on as it is, names in capitals (`X-FILE-SIZE`)."""
        return [
            (name.removeprefix("HTTP_").replace("_", "-"), str(value))
            for name, value in self._environ.items()
            if name.startswith("HTTP_")
        ]

    def path_below(self, prefix: str) -> str:
        """The path behind `prefix`, decoded. Raises UnicodeDecodeError for what is no UTF-8.

        Some clients leave bytes as they are that should be percent-encoded: those stand in `uri`
        as WSGI has them, a character for each (PEP 3333).
        """
        below = self.path.removeprefix(prefix)
        return unquote_to_bytes(below.encode("latin-1", errors="replace")).decode()

    def digest(self, *names: str) -> str | None:
        """SHA-256 in hex off the first of these headers that is there (RFC 9530).

        Raises ProblemError for one that can't be understood.
        """
        field = next((field for name in names if (field := self.header(name))), None)
        if field is None:
            return None
        try:
            return parse_repr_digest(field)
        except DigestRefused as error:
            raise ProblemError("malformed-request", str(error)) from None


def whole_number(name: str, value: str) -> int | None:
    """A header's number of bytes; None when it is empty. Raises ProblemError for anything else."""
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > 19 or int(value) > _LARGEST:
        raise ProblemError("malformed-request", f"{name} must be a whole number of bytes")
    return int(value)
