"""The API's description by hand: copies that nodes send each other."""

from __future__ import annotations

from agent.api.openapi.components import (
    BINARY,
    DIGEST,
    REPLICATE_TOKEN,
    TOKEN_PROBLEMS,
    Operations,
)
from agent.problems import Slug
from agent.replication.request import CONTENT_RANGE
from portside.orders.copies import HEADER
from portside.web.openapi import Answer, Operation, Parameter
from portside.wire.files import StoredFile

_PATH = "/api/internal/replicate/{path}"

_HERE = Parameter(
    "path", "path", {"type": "string", "minLength": 1}, "Where the file lies, as at its source."
)

_REACHED = {
    "Upload-Offset": "Bytes that are on disk: what is sent next begins here.",
    "Upload-Complete": "?1 when the copy is stored.",
    "Cache-Control": "Not to be kept.",
}
_STORED = {
    **_REACHED,
    "Repr-Digest": "The file's SHA-256 (RFC 9530).",
    "Location": "Where the copy is served from.",
}

_SOURCE_PROBLEMS: tuple[Slug, ...] = (*TOKEN_PROBLEMS, "source-unknown", "path-refused")
_FILE_PROBLEMS: tuple[Slug, ...] = (
    *_SOURCE_PROBLEMS,
    "name-taken",
    "file-differs",
    "file-deleted",
    "file-expired",
    "upload-locked",
)

REPLICATION: Operations = {
    ("HEAD", _PATH): Operation(
        "replication",
        "How far a push is",
        {204: Answer("So far.", headers=_REACHED)},
        _FILE_PROBLEMS,
        security=(REPLICATE_TOKEN,),
        parameters=(_HERE,),
    ),
    ("GET", _PATH): Operation(
        "replication",
        "Fetch the file's bytes, where one's own copy is damaged",
        {
            200: Answer(
                "The bytes.",
                media_type="application/octet-stream",
                schema=BINARY,
                headers={
                    "Cache-Control": "Not to be kept.",
                    "Repr-Digest": "The file's SHA-256 (RFC 9530).",
                },
            )
        },
        (*_FILE_PROBLEMS, "not-found", "no-slot"),
        security=(REPLICATE_TOKEN,),
        parameters=(_HERE,),
    ),
    ("PUT", _PATH): Operation(
        "replication",
        "Bring a copy, or the rest of one",
        {
            201: Answer(
                "Stored and durable, with this node's receipt.", StoredFile, headers=_STORED
            ),
            200: Answer("This very file is here.", StoredFile, headers=_STORED),
            204: Answer("These bytes are on disk; more are to come.", headers=_REACHED),
        },
        (
            *_FILE_PROBLEMS,
            *("order-missing", "order-refused", "type-refused"),
            *("token-used", "upload-in-progress", "upload-expired", "offset-mismatch"),
            *("length-required", "size-mismatch", "body-cut", "too-large", "digest-mismatch"),
            *("no-slot", "no-memory", "no-space", "read-only", "storage-failed"),
        ),
        security=(REPLICATE_TOKEN,),
        parameters=(
            _HERE,
            Parameter(
                "header",
                "Content-Range",
                {"type": "string", "pattern": f"^$|^{CONTENT_RANGE}$"},
                "Which bytes these are; `bytes */<size>` with none asks for the end.",
            ),
            Parameter(
                "header",
                HEADER,
                {"type": "string", "maxLength": 8192},
                "What proves that the file was to come here: the `upload+jwt` that it was uploaded "
                "with, or the control plane's `order+jwt`. Not needed for a file that is here.",
            ),
            Parameter("header", "Repr-Digest", DIGEST, "The whole file's SHA-256 (RFC 9530)."),
        ),
        body={"application/octet-stream": BINARY},
        body_required=False,
    ),
    ("DELETE", _PATH): Operation(
        "replication",
        "Give up a push that isn't complete",
        {204: Answer("Nothing of it is left; a stored copy stays.")},
        (*_SOURCE_PROBLEMS, "upload-locked", "no-space", "storage-failed"),
        security=(REPLICATE_TOKEN,),
        parameters=(_HERE,),
    ),
}
