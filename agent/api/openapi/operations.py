"""What each operation is for and what it can answer: the part of the API's description by hand.

A route without its entry here, or an entry without its route, fails a test.
"""

from __future__ import annotations

import falcon
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from agent.api.openapi.components import (
    ACCESS_TOKEN,
    BINARY,
    DIGESTS,
    DOWNLOAD_TOKEN,
    FILE_ID,
    NEW_FILE_PROBLEMS,
    TOKEN_PROBLEMS,
    UPLOAD_TOKEN,
    Operations,
)
from agent.api.openapi.replicate_operations import REPLICATION
from agent.api.openapi.resumable_operations import RESUMABLE
from agent.api.system import JWK_SET
from agent.problems import Slug
from portside.web.openapi import ANYONE, Answer, JsonObject, Operation, Parameter, query_parameters
from portside.web.redirects import DOWNLOAD
from portside.wire.files import (
    FilePage,
    FileQuery,
    FileWithCopies,
    HoldRequest,
    LifetimeChange,
    OwnerUsage,
    StoredFile,
    UsageQuery,
    Verification,
)
from portside.wire.keys import Keyset
from portside.wire.quarantine import KEPT_ID_PATTERN, Quarantine, Settled, SettleRequest
from portside.wire.status import Readiness, ToldStatus

_WHOLE_BODY_PROBLEMS: tuple[Slug, ...] = (
    *NEW_FILE_PROBLEMS,
    "length-required",
    "partial-file",
    "media-type",
    "expectation-failed",
    "precondition-failed",
)

_LOCATION = {"Location": "Where the file is served from."}
_STORED = {
    201: Answer("Stored, durable and acknowledged.", model=StoredFile, headers=_LOCATION),
    200: Answer("This token has stored this very file.", model=StoredFile, headers=_LOCATION),
}

_NO_CONTENT = Answer("Yes.")
_OPTIONS = Answer("What may be done here.", headers={"Allow": "The methods."})

_BYTES: JsonObject = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}

_SAID_OF_A_FILE = (
    Parameter(
        "header", "Repr-Digest", DIGESTS, "The file's digests: other content is refused (RFC 9530)."
    ),
    Parameter(
        "header",
        "Content-Digest",
        DIGESTS,
        "Those of the body, which may be a form: another one is refused (RFC 9530).",
    ),
    Parameter("header", "X-File-Size", _BYTES, "The file's bytes: another number is refused."),
    Parameter(
        "header",
        "Content-Range",
        {"type": "string", "pattern": "^$|^bytes 0-[0-9]{1,18}/[0-9]{1,18}$"},
        "All of the file. Parts of one go to `/api/v1/uploads`.",
    ),
    Parameter(
        "header", "Content-Encoding", {"enum": ["identity"]}, "What is sent is what is stored."
    ),
)
_CONDITIONS = (
    Parameter(
        "header",
        "If-None-Match",
        {"type": "string"},
        "With `*` a name that is taken is a 412 in place of a 409 (RFC 9110, section 13.1.2).",
    ),
    Parameter(
        "header",
        "If-Match",
        {"type": "string"},
        "Holds for a file that this token has stored; a new one replaces none (section 13.1.1).",
    ),
    Parameter(
        "header",
        "Content-Disposition",
        {"type": "string"},
        "The file's name where the URL's can't be read (RFC 6266).",
    ),
)

_NAME = Parameter(
    "path", "name", {"type": "string", "minLength": 1}, "The file's name, without slashes."
)

_FILE_ID = Parameter("path", "file_id", FILE_ID)


_UPLOADS: Operations = {
    ("POST", "/api/internal/upload"): Operation(
        "uploads",
        "Upload a file as a form",
        _STORED,
        _WHOLE_BODY_PROBLEMS,
        security=(UPLOAD_TOKEN,),
        parameters=_SAID_OF_A_FILE,
        body={
            "multipart/form-data": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": BINARY},
            }
        },
    ),
    ("PUT", "/api/internal/upload/{name}"): Operation(
        "uploads",
        "Upload a file as it is (`curl -T`)",
        _STORED,
        _WHOLE_BODY_PROBLEMS,
        security=(UPLOAD_TOKEN,),
        parameters=(_NAME, *_SAID_OF_A_FILE, *_CONDITIONS),
        body={"application/octet-stream": BINARY},
    ),
    ("HEAD", "/api/internal/upload"): Operation(
        "uploads", "Are uploads taken at this path?", {204: _NO_CONTENT}
    ),
    ("OPTIONS", "/api/internal/upload"): Operation(
        "uploads", "What may be done at this path?", {204: _OPTIONS}
    ),
    ("HEAD", "/api/internal/upload/{name}"): Operation(
        "uploads", "Are uploads taken at this path?", {204: _NO_CONTENT}, parameters=(_NAME,)
    ),
    ("OPTIONS", "/api/internal/upload/{name}"): Operation(
        "uploads", "What may be done at this path?", {204: _OPTIONS}, parameters=(_NAME,)
    ),
}

_DOWNLOAD = Parameter(
    "query", DOWNLOAD, {"type": "string"}, "That a browser is to save what it would show."
)

_CACHE = {"Cache-Control": "How long it may be kept, and by whom."}
_LOOK_PROBLEMS: tuple[Slug, ...] = (
    *TOKEN_PROBLEMS,
    "right-missing",
    "not-found",
    "file-deleted",
    "file-damaged",
    "token-revoked",
)
_READ_PROBLEMS: tuple[Slug, ...] = (
    *TOKEN_PROBLEMS,
    "right-missing",
    "not-found",
    "file-deleted",
    "file-expired",
    "file-damaged",
    "being-checked",
    "infected",
)
_CONTENT_HEADERS = {
    **_CACHE,
    "Content-Disposition": "Shown or saved, and under which name.",
}
_VALIDATORS = (
    "nginx adds ETag (the content's SHA-256) and Last-Modified (its commit), the same on every "
    "node, Surrogate-Key (the file's id and its namespace) and Content-Security-Policy (a sandbox, "
    "for the bytes are a stranger's); a text in UTF-8 says so in its Content-Type."
)
_CONTENT = {
    200: Answer(
        f"The bytes. {_VALIDATORS}", media_type="*/*", schema=BINARY, headers=_CONTENT_HEADERS
    ),
    206: Answer(
        "The bytes of the range.",
        media_type="*/*",
        schema=BINARY,
        headers={**_CONTENT_HEADERS, "Content-Range": "Which bytes these are."},
    ),
    304: Answer("What the client has is still right."),
    412: Answer("It isn't the content that was asked for."),
    416: Answer("The range lies outside the file."),
}

_HEAD_OF_CONTENT = {
    200: Answer("It is here.", headers=_CONTENT_HEADERS),
    304: _CONTENT[304],
    412: _CONTENT[412],
}

_FILES: Operations = {
    ("GET", "/api/v1/files"): Operation(
        "files",
        "Search, newest first",
        {200: Answer("A page of files.", model=FilePage, headers=_CACHE)},
        (*TOKEN_PROBLEMS, "right-missing"),
        security=(ACCESS_TOKEN,),
        parameters=query_parameters(FileQuery),
    ),
    ("GET", "/api/v1/files/{file_id}"): Operation(
        "files",
        "A file's attributes and receipt",
        {200: Answer("As its upload was answered.", model=FileWithCopies, headers=_CACHE)},
        _LOOK_PROBLEMS,
        security=(ANYONE, ACCESS_TOKEN, UPLOAD_TOKEN),
        parameters=(_FILE_ID,),
    ),
    ("HEAD", "/api/v1/files/{file_id}"): Operation(
        "files",
        "Is this file here?",
        {200: Answer("It is.", headers=_CACHE)},
        _LOOK_PROBLEMS,
        security=(ANYONE, ACCESS_TOKEN, UPLOAD_TOKEN),
        parameters=(_FILE_ID,),
    ),
    ("PATCH", "/api/v1/files/{file_id}"): Operation(
        "files",
        "Another moment at which this copy ends: prolonged, ended now, or taken back",
        {200: Answer("As it is from now on.", model=FileWithCopies, headers=_CACHE)},
        (
            *TOKEN_PROBLEMS,
            *("right-missing", "not-found", "file-deleted", "lifetime-refused", "name-taken"),
            *("lifetime-elsewhere", "malformed-request"),
            *("no-space", "read-only", "storage-failed"),
        ),
        security=(ACCESS_TOKEN,),
        parameters=(_FILE_ID,),
        body=LifetimeChange,
    ),
    ("DELETE", "/api/v1/files/{file_id}"): Operation(
        "files",
        "Delete a file",
        {204: Answer("It is gone, now or since before.")},
        (
            *TOKEN_PROBLEMS,
            *("right-missing", "not-found", "no-space", "read-only", "storage-failed"),
        ),
        security=(ACCESS_TOKEN,),
        parameters=(_FILE_ID,),
    ),
    ("GET", "/api/v1/files/{file_id}/content"): Operation(
        "files",
        "A file's bytes, ranges too",
        _CONTENT,
        _READ_PROBLEMS,
        security=(ANYONE, ACCESS_TOKEN, DOWNLOAD_TOKEN),
        parameters=(_FILE_ID, _DOWNLOAD),
    ),
    ("HEAD", "/api/v1/files/{file_id}/content"): Operation(
        "files",
        "What a GET would answer, without the bytes",
        _HEAD_OF_CONTENT,
        _READ_PROBLEMS,
        security=(ANYONE, ACCESS_TOKEN, DOWNLOAD_TOKEN),
        parameters=(_FILE_ID, _DOWNLOAD),
    ),
    **{
        (method, "/api/v1/files/{file_id}/verify"): Operation(
            "files",
            "Read a file again and compare its digest",
            {200: Answer("What was found.", model=Verification, headers=_CACHE)},
            (*_READ_PROBLEMS, "body-cut", "no-slot", "no-space", "read-only", "storage-failed"),
            security=(ACCESS_TOKEN,),
            parameters=(_FILE_ID,),
        )
        for method in ("GET", "POST")
    },
}

_HOLDS: Operations = {
    ("POST", f"/api/v1/files/{{file_id}}/{way}"): Operation(
        "files",
        summary,
        {200: Answer("The file as it is now.", model=StoredFile, headers=_CACHE)},
        (
            *TOKEN_PROBLEMS,
            *("right-missing", "not-found", "file-deleted", "malformed-request"),
            *("no-space", "storage-failed"),
        ),
        security=(ACCESS_TOKEN,),
        parameters=(_FILE_ID,),
        body=HoldRequest,
    )
    for way, summary in (
        ("hold", "Serve a file to nobody from now on (right `hold`); running downloads go on"),
        ("release", "Serve a file that was held (right `hold`)"),
    )
}

_QUARANTINE: Operations = {
    ("GET", "/api/v1/quarantine"): Operation(
        "quarantine",
        "What is kept out of service, and why",
        {200: Answer("In order of ids, the first of them.", model=Quarantine, headers=_CACHE)},
        (*TOKEN_PROBLEMS, "right-missing"),
        security=(ACCESS_TOKEN,),
    ),
    ("POST", "/api/v1/quarantine/{kept_id}"): Operation(
        "quarantine",
        "Put a file back if its bytes are good, have good ones fetched, or remove it",
        {
            200: Answer("Settled.", model=Settled, headers=_CACHE),
            202: Answer("The node's worker is about to.", model=Settled, headers=_CACHE),
        },
        (
            *TOKEN_PROBLEMS,
            *("right-missing", "not-found", "not-settled", "body-cut"),
            *("no-slot", "no-space", "read-only", "storage-failed"),
        ),
        security=(ACCESS_TOKEN,),
        parameters=(Parameter("path", "kept_id", {"type": "string", "pattern": KEPT_ID_PATTERN}),),
        body=SettleRequest,
    ),
}

_USAGE: Operations = {
    ("GET", "/api/v1/usage"): Operation(
        "files",
        "How much an owner has here (right `list`, or any upload token of that owner's)",
        {200: Answer("As uploads are let in by.", model=OwnerUsage, headers=_CACHE)},
        (*TOKEN_PROBLEMS, "right-missing", "token-revoked"),
        security=(ACCESS_TOKEN, UPLOAD_TOKEN),
        parameters=query_parameters(UsageQuery),
    ),
}

_ELSEWHERE = Answer(
    "It is elsewhere, or somebody else may know. With Surrogate-Key where its namespace is known.",
    media_type=falcon.MEDIA_TEXT,
    schema={"type": "string"},
    headers={**_CACHE, "Location": "Where to ask next."},
)
_FILE_NAME = Parameter("path", "name", {"type": "string", "minLength": 1}, "For people.")

_LASTING: Operations = {
    (method, path): Operation(
        "files",
        "A file, wherever it is",
        {**answers, 302: _ELSEWHERE},
        _READ_PROBLEMS,
        security=(ANYONE, ACCESS_TOKEN, DOWNLOAD_TOKEN),
        parameters=parameters,
    )
    for method, answers in (("GET", _CONTENT), ("HEAD", _HEAD_OF_CONTENT))
    for path, parameters in (
        ("/f/{file_id}", (_FILE_ID, _DOWNLOAD)),
        ("/f/{file_id}/{name}", (_FILE_ID, _FILE_NAME, _DOWNLOAD)),
    )
}

_SYSTEM: Operations = {
    ("GET", "/api/v1/system/upload-status"): Operation(
        "system",
        "How full the node is; to readers of metrics, the numbers that admission decides by",
        {200: Answer("As of now.", model=ToldStatus, headers=_CACHE)},
    ),
    ("GET", "/api/v1/system/keys"): Operation(
        "system",
        "The key that receipts are checked with",
        {200: Answer("A JWK set (RFC 7517).", model=Keyset, media_type=JWK_SET)},
    ),
    ("GET", "/health/live"): Operation("probes", "Does the agent answer?", {204: _NO_CONTENT}),
    ("GET", "/health/ready"): Operation(
        "probes",
        "Would an upload be taken?",
        {
            200: Answer("It would.", model=Readiness, headers=_CACHE),
            503: Answer("It would not, for these reasons.", model=Readiness, headers=_CACHE),
        },
    ),
    ("GET", "/metrics"): Operation(
        "probes",
        "For Prometheus, from the operators' networks",
        {
            200: Answer(
                "The text format.",
                media_type=CONTENT_TYPE_PLAIN_0_0_4,
                schema={"type": "string"},
                headers=_CACHE,
            )
        },
    ),
    ("GET", "/openapi.json"): Operation(
        "system",
        "This description",
        {
            200: Answer(
                "OpenAPI 3.1.",
                schema={"type": "object"},
                headers={**_CACHE, "ETag": "Changes with the document."},
            ),
            304: Answer("It is as it was."),
        },
    ),
}

OPERATIONS: Operations = {
    **_UPLOADS,
    **RESUMABLE,
    **REPLICATION,
    **_FILES,
    **_HOLDS,
    **_QUARANTINE,
    **_USAGE,
    **_LASTING,
    **_SYSTEM,
    **{
        ("HEAD", path): _SYSTEM["GET", path]
        for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json")
    },
}
