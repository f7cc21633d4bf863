"""The description of `/api/v1/uploads`: two dialects on the same resources.

tus 1.0: https://tus.io/protocols/resumable-upload. IETF: draft-ietf-httpbis-resumable-upload.
"""

from __future__ import annotations

from agent.api.openapi.components import (
    BINARY,
    DIGEST,
    FILE_ID,
    NEW_FILE_PROBLEMS,
    TOKEN_PROBLEMS,
    UPLOAD_TOKEN,
    Operations,
)
from agent.dialects.checksum import CHECKSUMS
from agent.dialects.draft import PARTIAL_TYPE, REGISTERED
from agent.dialects.metadata import MOST_METADATA
from agent.dialects.method_override import CARRIED, OVERRIDE_HEADER
from agent.dialects.request import TUS_TYPE
from agent.problems import Slug
from portside.web.openapi import Answer, JsonObject, Operation, Parameter
from portside.wire.files import StoredFile

_BASE64 = "([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
_BYTES: JsonObject = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}


def _header(name: str, description: str, schema: JsonObject) -> Parameter:
    return Parameter("header", name, schema, description)


_DIALECT = (
    _header("Tus-Resumable", "The version: this is tus.", {"enum": ["1.0.0"]}),
    _header(
        "Upload-Draft-Interop-Version",
        "IETF: 3 to 9, or none for the newest draft. 3 says Upload-Incomplete, turned round.",
        {"type": "string"},
    ),
)
_OFFSET = _header("Upload-Offset", "Where this request's bytes begin.", _BYTES)
_OF_BYTES = (
    _header("Upload-Length", "Bytes of the whole file.", _BYTES),
    _header("Upload-Complete", "IETF: does this body end the file?", {"enum": ["?0", "?1"]}),
    _header(
        "Upload-Checksum",
        "tus: what this request's bytes hash to, in Base64.",
        {"type": "string", "pattern": f"^({'|'.join(CHECKSUMS)}) {_BASE64}$"},
    ),
    _header("Content-Digest", "SHA-256 of this request's bytes (RFC 9530).", DIGEST),
    _header("Repr-Digest", "The whole file's SHA-256 (RFC 9530).", DIGEST),
    _header(
        "Accept",
        "tus: with application/json the last PATCH is answered with the stored file.",
        {"type": "string"},
    ),
)
_OF_CREATION = (
    _header("Upload-Defer-Length", "tus: the length comes later.", {"enum": ["1"]}),
    _header(
        "Upload-Metadata",
        "tus: keys with values in Base64; `filename`, or else `name`, is the file's name.",
        {"type": "string", "maxLength": MOST_METADATA},
    ),
    _header(
        "Upload-Concat",
        "tus: a part of a file, or the file that parts make.",
        {"type": "string", "pattern": "^(partial|final;.+)$"},
    ),
    _header("Content-Disposition", "IETF: the file's name.", {"type": "string"}),
)
_OVERRIDE = Parameter(
    "header",
    OVERRIDE_HEADER,
    {"enum": list(CARRIED)},
    "The method that is meant, for clients that can't send it.",
    required=True,
)
_UPLOAD_ID = Parameter("path", "upload_id", FILE_ID, "As in the Location of its creation.")
_ANY_ID = Parameter("path", "upload_id", {"type": "string", "minLength": 1})

_BODY = {TUS_TYPE: BINARY, PARTIAL_TYPE: BINARY}

_SPOKEN: tuple[Slug, ...] = (*TOKEN_PROBLEMS, "token-revoked", "protocol-version")
_OF_ONE: tuple[Slug, ...] = (*_SPOKEN, "upload-unknown", "upload-expired")
_RECEIVING: tuple[Slug, ...] = (
    *NEW_FILE_PROBLEMS,
    "throttled",
    "protocol-version",
    "media-type",
    "expectation-failed",
    "offset-mismatch",
    "checksum-mismatch",
    "checksum-unsupported",
    "upload-unknown",
    "upload-expired",
    "upload-complete",
    "upload-locked",
    "parts-incomplete",
)

_OPTIONS = Answer(
    "What is spoken here.",
    headers={
        "Allow": "The methods.",
        "Accept-Patch": "The draft's media type.",
        "Tus-Version": "The versions of tus.",
        "Tus-Extension": "The extensions of tus.",
        "Tus-Max-Size": "Bytes of the largest file.",
        "Tus-Checksum-Algorithm": "The algorithms of Upload-Checksum.",
        "Upload-Limit": "The draft's limits.",
    },
)
_REACHED = {"Upload-Offset": "Bytes that are on disk.", "Cache-Control": "no-store"}
_IN_THE_DRAFT = tuple(REGISTERED.values())

RESUMABLE: Operations = {
    ("OPTIONS", "/api/v1/uploads"): Operation(
        "resumable uploads", "What is spoken here?", {204: _OPTIONS}
    ),
    ("OPTIONS", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads", "What is spoken here?", {204: _OPTIONS}, parameters=(_ANY_ID,)
    ),
    ("POST", "/api/v1/uploads"): Operation(
        "resumable uploads",
        "Begin an upload, or find the one that this token has begun",
        {
            201: Answer(
                "It has begun: no body. It is complete: the stored file.",
                model=StoredFile,
                headers={
                    **_REACHED,
                    "Location": "Where it goes on: a URL by the name that was asked, or its path "
                    "where a proxy may have put another name in.",
                },
            )
        },
        (*_RECEIVING, "method-not-allowed"),
        security=(UPLOAD_TOKEN,),
        parameters=(*_DIALECT, *_OF_BYTES, *_OF_CREATION),
        body={**_BODY, "application/octet-stream": BINARY},
        body_required=False,
        registered=_IN_THE_DRAFT,
    ),
    ("HEAD", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads",
        "How far is it?",
        {
            200: Answer("tus: so far.", headers=_REACHED),
            204: Answer("IETF: so far.", headers=_REACHED),
        },
        (*_OF_ONE, "upload-locked", "not-replicated", "no-slot", "no-memory"),
        security=(UPLOAD_TOKEN,),
        parameters=(_UPLOAD_ID, *_DIALECT),
    ),
    ("GET", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads",
        "How far is it, and what became of it?",
        {
            200: Answer("It is complete: the stored file.", model=StoredFile, headers=_REACHED),
            204: Answer("So far.", headers=_REACHED),
        },
        (*_OF_ONE, "upload-locked", "not-replicated"),
        security=(UPLOAD_TOKEN,),
        parameters=(_UPLOAD_ID, *_DIALECT),
    ),
    ("PATCH", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads",
        "Send the bytes from the offset on",
        {
            200: Answer("The file is stored.", model=StoredFile, headers=_REACHED),
            204: Answer("So far.", headers=_REACHED),
        },
        _RECEIVING,
        security=(UPLOAD_TOKEN,),
        parameters=(_UPLOAD_ID, *_DIALECT, _OFFSET, *_OF_BYTES),
        body=_BODY,
        registered=_IN_THE_DRAFT,
    ),
    ("POST", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads",
        "HEAD, PATCH or DELETE of a client that can't send it",
        {
            200: Answer("As of the method that is meant."),
            204: Answer("As of the method that is meant."),
        },
        (*_RECEIVING, "method-not-allowed"),
        security=(UPLOAD_TOKEN,),
        parameters=(_UPLOAD_ID, *_DIALECT, _OVERRIDE, _OFFSET, *_OF_BYTES),
        body={**_BODY, "application/octet-stream": BINARY},
        body_required=False,
        registered=_IN_THE_DRAFT,
    ),
    ("DELETE", "/api/v1/uploads/{upload_id}"): Operation(
        "resumable uploads",
        "Give an upload up",
        {204: Answer("It is gone.")},
        (*_OF_ONE, "upload-complete", "upload-locked"),
        security=(UPLOAD_TOKEN,),
        parameters=(_UPLOAD_ID, *_DIALECT),
    ),
}
