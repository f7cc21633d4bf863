"""An upload in one request, as its head tells it: a form (POST), or the file itself (PUT). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from multipart import parse_options_header

from agent.dialects import draft
from agent.incoming.request_head import RequestHead, whole_number
from agent.problems import ProblemError
from portside.wire import paths


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """An upload request without its body. `length` is None when the body is chunked."""

    method: str
    url_name: str | None
    authorization: str
    length: int | None
    boundary: str | None
    sha256: str | None


def upload_request(head: RequestHead) -> UploadRequest:
    """What an upload's head says. Raises ProblemError for what can't be understood."""
    draft.refuse_part(head)
    return UploadRequest(
        method=head.method,
        url_name=_name_in(head),
        authorization=head.authorization,
        length=_length(head) if head.method in ("POST", "PUT") else None,
        boundary=_boundary(head.content_type) if head.method == "POST" else None,
        sha256=head.digest("Repr-Digest", "Content-Digest"),
    )


def _name_in(head: RequestHead) -> str | None:
    try:
        return head.path_below(paths.UPLOAD).removeprefix("/") or None
    except UnicodeDecodeError:
        raise ProblemError("name-refused", "the name in the URL is no UTF-8") from None


def _length(head: RequestHead) -> int | None:
    if head.transfer_encoding:
        return None
    length = whole_number("Content-Length", head.content_length)
    if length is None:
        raise ProblemError("length-required", "send Content-Length, or the body chunked")
    return length


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)
    if kind != "multipart/form-data" or not options.get("boundary"):
        raise ProblemError(
            "malformed-request",
            f"POST takes multipart/form-data with a boundary; PUT {paths.UPLOAD}/NAME a raw body",
        )
    return str(options["boundary"])
