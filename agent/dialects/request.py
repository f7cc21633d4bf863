"""What a request of a resumable upload says of itself, in either of the two dialects.

tus 1.0 (tus.io/protocols/resumable-upload) and the IETF's draft (`agent.dialects.draft`) share
their resources here and differ in their headers. Pure; every malformed one of tus's is a
ProblemError that names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from agent.dialects import draft
from agent.dialects.checksum import Checksum, checksums_of, parse_checksum, refuse_trailer
from agent.dialects.metadata import name_in, parse_metadata
from agent.dialects.method_override import OVERRIDE_HEADER, meant_method
from agent.dialects.places import joined_uploads, upload_id_of
from agent.incoming.digests import content_digest, repr_digest
from agent.incoming.disposition import disposition_name
from agent.incoming.request_head import RequestHead, whole_number
from agent.incoming.whole_file import check_is_plain
from agent.problems import ProblemError
from portside.wire import paths

TUS_VERSION = "1.0.0"
TUS_TYPE = "application/offset+octet-stream"
Dialect = Literal["tus", "ietf"]


@dataclass(frozen=True, slots=True)
class ResumableRequest:
    """A request without its body. `body_length` is None when it is chunked."""

    method: str
    dialect: Dialect | None
    version: draft.Version
    upload_id: str | None
    authorization: str
    content_type: str
    body_length: int | None
    offset: int | None
    length: int | None
    length_deferred: bool
    complete: bool | None
    metadata: str
    name: str | None
    concat: str
    checksums: tuple[Checksum, ...]
    sha256: str | None
    wants_json: bool
    address: str = ""
    """Where it came from, as nginx tells; empty without nginx."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Ids of the parts that a final upload joins, in order. Raises ProblemError."""
        return joined_uploads(self.concat)


def resumable_request(head: RequestHead) -> ResumableRequest:
    """What a request's head says. Raises ProblemError for what can't be understood."""
    check_is_plain(head)
    media_type = _said_once(head.content_type.partition(";")[0]).lower()
    method = meant_method(head.method, head.header(OVERRIDE_HEADER))
    version = draft.version_of(head)
    dialect = _dialect(head, method, media_type)
    if dialect != "tus" and method in ("HEAD", "GET", "DELETE"):
        draft.check_question(head)
    metadata = head.header("Upload-Metadata")
    known = parse_metadata(metadata)
    name = name_in(known) if dialect == "tus" else None
    refuse_trailer(head.header("Trailer"))
    _check_is_no_envelope(head, media_type)
    return ResumableRequest(
        method=method,
        dialect=dialect,
        version=version,
        upload_id=upload_id_of(head.path),
        authorization=head.authorization,
        content_type=media_type,
        body_length=_body_length(head),
        offset=_number_of_bytes(head, "Upload-Offset", dialect),
        length=_number_of_bytes(head, "Upload-Length", dialect),
        length_deferred=_deferred(head.header("Upload-Defer-Length")),
        # A word of the draft's: tus knows the end by the length.
        complete=None if dialect == "tus" else version.complete_in(head),
        metadata=metadata,
        name=name or disposition_name(head.header("Content-Disposition")),
        concat=_concat(head.header("Upload-Concat")),
        checksums=_checksums(head),
        sha256=_sha256(head, method),
        wants_json=head.header("Accept").partition(";")[0].strip() == "application/json",
        address=head.address,
    )


def _said_once(value: str) -> str:
    """A value that was set twice, by tus-js-client and by its app: browsers join the two.

    (XMLHttpRequest, setRequestHeader: "combine".)
    """
    values = {each.strip() for each in value.split(",")}
    return values.pop() if len(values) == 1 else value


def _dialect(head: RequestHead, method: str, media_type: str) -> Dialect | None:
    if version := _said_once(head.header("Tus-Resumable")):
        if version != TUS_VERSION and method != "OPTIONS":
            raise _other_version(f"Tus-Resumable: {TUS_VERSION} is the version spoken here")
        return "tus"
    if draft.is_spoken(head, media_type):
        return "ietf"
    if media_type == TUS_TYPE:
        raise _other_version(f"send Tus-Resumable: {TUS_VERSION}")
    return None


def _other_version(detail: str) -> ProblemError:
    """tus wants the versions that are spoken in its refusal of any other (core protocol)."""
    return ProblemError("protocol-version", detail, headers={"Tus-Version": TUS_VERSION})


def _number_of_bytes(head: RequestHead, name: str, dialect: Dialect | None) -> int | None:
    value = head.header(name)
    return draft.whole_number(value) if dialect == "ietf" else whole_number(name, value)


def _checksums(head: RequestHead) -> tuple[Checksum, ...]:
    said = parse_checksum(head.header("Upload-Checksum"))
    return (*([] if said is None else [said]), *checksums_of(content_digest(head)))


def _sha256(head: RequestHead, method: str) -> str | None:
    """The whole file's SHA-256 in hex, in whichever header. Raises ProblemError for others alone.

    What goes on over days is hashed as it comes, by this alone.
    """
    digests = repr_digest(head)
    if digests and method == "PATCH" and not head.header("Repr-Digest"):
        raise ProblemError(
            "malformed-request",
            "say which bytes the digest is of: Content-Digest is of these, Repr-Digest of the "
            "whole file (RFC 9530)",
        )
    if digests and "sha-256" not in digests:
        raise ProblemError(
            "malformed-request",
            f"of a resumable upload sha-256 is checked, not {', '.join(digests)}: send "
            "Repr-Digest: sha-256=:<Base64>: (RFC 9530)",
        )
    return digests["sha-256"].hex() if digests else None


def _check_is_no_envelope(head: RequestHead, media_type: str) -> None:
    """Raise ProblemError for a body that has the file's bytes among others, or says where they go.

    Apple's URLSession makes a resumable upload of any request, of a form as well.
    """
    if media_type.startswith("multipart/") and _body_length(head) != 0:
        raise ProblemError(
            "media-type",
            f"the body is {media_type} and would be stored so: send the file's bytes alone, or a "
            f"form to {paths.UPLOAD}",
        )
    if head.header("Content-Range"):
        raise ProblemError(
            "malformed-request", "Upload-Offset says where bytes begin: send no Content-Range"
        )


def _body_length(head: RequestHead) -> int | None:
    if head.transfer_encoding:
        return None
    return whole_number("Content-Length", head.content_length) or 0


def _deferred(value: str) -> bool:
    if value not in ("", "1"):
        raise ProblemError("malformed-request", "Upload-Defer-Length can only be 1")
    return value == "1"


def _concat(value: str) -> str:
    kind, semicolon, urls = value.partition(";")
    said = kind.strip().lower() + semicolon + urls
    if said and said != "partial" and not said.startswith("final;"):
        raise ProblemError(
            "malformed-request", "Upload-Concat must be 'partial' or 'final;' and the parts' URLs"
        )
    return said
