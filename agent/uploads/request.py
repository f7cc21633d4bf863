"""What a request says of itself before its body: the same facts for the preflight and the upload.

nginx asks the agent about an upload before it reads a byte of the body, and passes the original
request's facts in `X-Original-*` headers; the upload itself has them in its own headers. Only nginx
can reach the preflight, so those headers can be believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from multipart import parse_options_header

from agent.problems import ProblemError
from portside.digest import DigestRefused, parse_repr_digest

UPLOAD_PATH = "/api/internal/upload"


@dataclass(frozen=True, slots=True)
class UploadFacts:
    """An upload request without its body. `length` is None when the body is chunked."""

    method: str
    url_name: str | None
    authorization: str
    length: int | None
    boundary: str | None
    sha256: str | None


def from_request(environ: Mapping[str, Any]) -> UploadFacts:
    """The facts of the request itself. Raises ProblemError for what can't be understood."""
    return _facts(
        environ,
        method=environ["REQUEST_METHOD"],
        # RAW_URI, for PATH_INFO is decoded already: `%2F` in a name must not look like a path.
        uri=environ["RAW_URI"],
        length=environ.get("CONTENT_LENGTH", ""),
        content_type=environ.get("CONTENT_TYPE", ""),
        transfer_encoding=environ.get("HTTP_TRANSFER_ENCODING", ""),
    )


def from_preflight(environ: Mapping[str, Any]) -> UploadFacts:
    """The facts nginx passes on about another request. Raises ProblemError as well."""
    return _facts(
        environ,
        method=environ.get("HTTP_X_ORIGINAL_METHOD", ""),
        uri=environ.get("HTTP_X_ORIGINAL_URI", ""),
        length=environ.get("HTTP_X_ORIGINAL_CONTENT_LENGTH", ""),
        content_type=environ.get("HTTP_X_ORIGINAL_CONTENT_TYPE", ""),
        transfer_encoding=environ.get("HTTP_X_ORIGINAL_TRANSFER_ENCODING", ""),
    )


def _facts(
    environ: Mapping[str, Any],
    method: str,
    uri: str,
    length: str,
    content_type: str,
    transfer_encoding: str,
) -> UploadFacts:
    return UploadFacts(
        method=method,
        url_name=_name_in(uri),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
        length=_length(length, transfer_encoding) if method in ("POST", "PUT") else None,
        boundary=_boundary(content_type) if method == "POST" else None,
        sha256=_digest(environ.get("HTTP_REPR_DIGEST") or environ.get("HTTP_CONTENT_DIGEST")),
    )


def _name_in(uri: str) -> str | None:
    name = urlsplit(uri).path.removeprefix(UPLOAD_PATH).removeprefix("/")
    try:
        return unquote(name, errors="strict") or None
    except UnicodeDecodeError:
        raise ProblemError("name-refused", "the name in the URL is no UTF-8") from None


def _length(length: str, transfer_encoding: str) -> int | None:
    if transfer_encoding:
        return None
    if not length:
        raise ProblemError("length-required", "send Content-Length, or the body chunked")
    if not (length.isascii() and length.isdigit()):
        raise ProblemError("malformed-request", "Content-Length is no number")
    return int(length)


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise ProblemError(
            "malformed-request",
            f"POST takes multipart/form-data with a boundary; PUT {UPLOAD_PATH}/NAME a raw body",
        )
    return str(options["boundary"])


def _digest(field: str | None) -> str | None:
    if not field:
        return None
    try:
        return parse_repr_digest(field)
    except DigestRefused as error:
        raise ProblemError("malformed-request", str(error)) from None
