"""An upload in one request, as its head tells it: a form (POST), or the file itself (PUT). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.incoming.digests import Digests, agreed, content_digest, repr_digest
from agent.incoming.disposition import disposition_name, disposition_parameters
from agent.incoming.request_head import RequestHead, whole_number
from agent.incoming.whole_file import check_is_plain, one_size, part_of_a_file, said_in_head
from agent.problems import ProblemError
from portside.wire import paths


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """An upload request without its body. `length` is None when the body is chunked."""

    method: str
    sent_name: str | None
    """The name in the URL, or else in Content-Disposition; None without one that can be read."""

    authorization: str
    length: int | None
    boundary: str | None
    size: int | None
    """The file's size, if anything tells it."""

    file_digests: Digests = field(default_factory=dict)
    content_digests: Digests = field(default_factory=dict)
    """What a form as a whole hashes to. A raw body is the file."""

    address: str = ""
    """Where it came from, as nginx tells; empty without nginx."""

    only_new: bool = False
    """`If-None-Match: *` (RFC 9110, section 13.1.2)."""

    only_replacing: str = ""
    """`If-Match` (section 13.1.1)."""

    @property
    def sha256(self) -> str | None:
        """The file's SHA-256 in hex, if the request tells it."""
        digest = self.file_digests.get("sha-256")
        return None if digest is None else digest.hex()

    @property
    def other_digests(self) -> Digests:
        """Digests of the file that nothing else needs computed."""
        return {name: each for name, each in self.file_digests.items() if name != "sha-256"}


def upload_request(head: RequestHead) -> UploadRequest:
    """What an upload's head says. Raises ProblemError for what can't be understood or done."""
    name = _name(head)
    check_is_plain(head)
    boundary = _boundary(head)
    said = said_in_head(head)
    length = _length(head)
    # Of the body, as Apple's URLSession says it of whatever it sends: a form's as well.
    told = one_size([length, whole_number("Upload-Length", head.header("Upload-Length"))])
    content, whole = content_digest(head), agreed(repr_digest(head), said.digests)
    return UploadRequest(
        method=head.method,
        sent_name=name,
        authorization=head.authorization,
        length=length,
        boundary=boundary,
        size=said.size if boundary is not None else one_size([said.size, told]),
        file_digests=whole if boundary is not None else agreed(whole, content),
        content_digests=content if boundary is not None else {},
        only_new=head.header("If-None-Match") == "*",
        only_replacing=head.header("If-Match"),
        address=head.address,
    )


def _name(head: RequestHead) -> str | None:
    """The name that the client gives the file. Raises ProblemError for a URL without one.

    What can't be read is no name: where a token names the file nobody asks for it.
    """
    try:
        # Some join an endpoint's slash to one of their own.
        name: str | None = head.path_below(paths.UPLOAD).lstrip("/")
    except UnicodeDecodeError:
        name = None
    if head.method == "PUT" and name == "":
        raise ProblemError("name-refused", f"PUT the file to {paths.UPLOAD}/NAME, with its name")
    # A form's file has its name in the form.
    if head.method == "POST":
        return None
    return name or disposition_name(head.header("Content-Disposition")) or None


def _length(head: RequestHead) -> int | None:
    if head.transfer_encoding:
        return None
    length = whole_number("Content-Length", head.content_length)
    if length is None:
        raise ProblemError("length-required", "send Content-Length, or the body chunked")
    return length


def _boundary(head: RequestHead) -> str | None:
    """What parts a form's fields; None for a raw body. Raises ProblemError for other multiparts."""
    kind = head.content_type.partition(";")[0].strip().lower()
    if head.method == "POST":
        boundary = disposition_parameters(head.content_type).get("boundary", "")
        if kind != "multipart/form-data" or not boundary:
            raise ProblemError(
                "malformed-request",
                f"POST takes multipart/form-data with a boundary; PUT {paths.UPLOAD}/NAME a raw "
                "body",
            )
        return boundary
    if kind == "multipart/byteranges":
        raise part_of_a_file()
    if kind.startswith("multipart/"):
        raise ProblemError(
            "media-type", f"PUT takes the file itself: POST a form to {paths.UPLOAD}"
        )
    return None
