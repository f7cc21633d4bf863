"""What a request of a resumable upload says of itself, in either of the two dialects.

tus 1.0 (tus.io/protocols/resumable-upload) and the IETF's draft (`agent.dialects.draft`) share
their resources here and differ in their headers. Pure; every malformed one of tus's is a
ProblemError that names it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from agent.dialects import draft
from agent.dialects.checksum import Checksum, checksums_of, parse_checksum
from agent.dialects.metadata import parse_metadata
from agent.incoming.digests import content_digest
from agent.incoming.disposition import disposition_name
from agent.incoming.request_head import RequestHead, whole_number
from agent.problems import ProblemError
from portside.wire import paths
from portside.wire.fields import FILE_ID_PATTERN

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

    @property
    def parts(self) -> tuple[str, ...]:
        """Ids of the parts that a final upload joins, in order. Raises ProblemError."""
        urls = self.concat.removeprefix("final;").split()
        found = tuple(_upload_id(urlsplit(url).path) for url in urls)
        if not found or not all(found):
            raise ProblemError("malformed-request", "Upload-Concat: final; names no uploads")
        return tuple(each for each in found if each)


def resumable_request(head: RequestHead) -> ResumableRequest:
    """What a request's head says. Raises ProblemError for what can't be understood."""
    media_type = head.content_type.partition(";")[0].strip().lower()
    dialect = _dialect(head, media_type)
    version = draft.version_of(head)
    if dialect != "tus" and head.method in ("HEAD", "GET", "DELETE"):
        draft.check_question(head)
    metadata = head.header("Upload-Metadata")
    known = parse_metadata(metadata)
    name = known.get("filename") or known.get("name") if dialect == "tus" else None
    return ResumableRequest(
        method=head.method,
        dialect=dialect,
        version=version,
        upload_id=_upload_id(head.path),
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
        sha256=head.digest("Repr-Digest"),
        wants_json=head.header("Accept").partition(";")[0].strip() == "application/json",
    )


def _dialect(head: RequestHead, media_type: str) -> Dialect | None:
    if version := head.header("Tus-Resumable"):
        if version != TUS_VERSION and head.method != "OPTIONS":
            raise ProblemError(
                "protocol-version",
                f"Tus-Resumable: {TUS_VERSION} is the version spoken here",
                headers={"Tus-Version": TUS_VERSION},
            )
        return "tus"
    if draft.is_spoken(head, media_type):
        return "ietf"
    if media_type == TUS_TYPE:
        raise ProblemError("protocol-version", f"send Tus-Resumable: {TUS_VERSION}")
    return None


def _upload_id(path: str) -> str | None:
    upload_id = path.removeprefix(paths.RESUMABLE_UPLOADS).removeprefix("/")
    return upload_id if re.fullmatch(FILE_ID_PATTERN, upload_id) else None


def _number_of_bytes(head: RequestHead, name: str, dialect: Dialect | None) -> int | None:
    value = head.header(name)
    return draft.whole_number(value) if dialect == "ietf" else whole_number(name, value)


def _checksums(head: RequestHead) -> tuple[Checksum, ...]:
    said = parse_checksum(head.header("Upload-Checksum"))
    return (*([] if said is None else [said]), *checksums_of(content_digest(head)))


def _body_length(head: RequestHead) -> int | None:
    if head.transfer_encoding:
        return None
    return whole_number("Content-Length", head.content_length) or 0


def _deferred(value: str) -> bool:
    if value not in ("", "1"):
        raise ProblemError("malformed-request", "Upload-Defer-Length can only be 1")
    return value == "1"


def _concat(value: str) -> str:
    if value and value != "partial" and not value.startswith("final;"):
        raise ProblemError(
            "malformed-request", "Upload-Concat must be 'partial' or 'final;' and the parts' URLs"
        )
    return value
