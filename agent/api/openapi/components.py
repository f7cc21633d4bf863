"""What holds for the agent's whole API, and what descriptions of several operations share."""

from __future__ import annotations

from typing import get_args

from agent.incoming.digests import SIZES
from agent.problems import ProblemError, Slug
from portside.tokens import Refusal
from portside.web import openapi
from portside.web.openapi import Api, JsonObject, SecurityScheme
from portside.wire.fields import FILE_ID_PATTERN

Operations = openapi.Operations[Slug]
"""By method and path."""


def _bearer(name: str, description: str) -> SecurityScheme[Slug]:
    """A token in the Authorization header."""
    return SecurityScheme(
        name,
        {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": description,
        },
    )


UPLOAD_TOKEN = _bearer("uploadToken", "An `upload+jwt` for one file on this node.")
ACCESS_TOKEN = _bearer("accessToken", "An `access+jwt` with the right that the operation needs.")
REPLICATE_TOKEN = _bearer(
    "replicateToken", "A `replicate+jwt` for one file, signed by the node that sends it."
)
DOWNLOAD_TOKEN: SecurityScheme[Slug] = SecurityScheme(
    "downloadToken",
    {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A `download+jwt` for one path.",
    },
)

_RETRY_AFTER = {"Retry-After": "Seconds to wait."}

API: Api[Slug] = Api(
    title="Portside storage node",
    description="Files straight to the node that keeps them, and back.",
    schemes=(UPLOAD_TOKEN, ACCESS_TOKEN, REPLICATE_TOKEN, DOWNLOAD_TOKEN),
    problem_type=ProblemError,
    problems=("malformed-request", "rate-limited", "internal-error"),
    headers={"X-Request-ID": "What the node's logs have about this request."},
    problem_headers={
        401: {"WWW-Authenticate": "How to say who you are."},
        429: _RETRY_AFTER,
        503: _RETRY_AFTER,
    },
    phrases={
        415: "Unsupported Media Type, with Accept-Encoding where it is the Content-Encoding",
        # tus has a status of its own.
        460: "Checksum mismatch",
    },
)

BINARY: JsonObject = {"type": "string", "format": "binary"}

DIGEST: JsonObject = {
    "type": "string",
    "pattern": r"^$|(^|,)[ \t]*sha-256=:[A-Za-z0-9+/]{43}=:[ \t]*(,|$)",
}
"""A `Repr-Digest` with a SHA-256 (RFC 9530); an empty one says nothing (RFC 9651, section 3.2)."""

_BASE64_DIGESTS = "|".join(
    f"{algorithm}=:[A-Za-z0-9+/]{{{-(-size * 4 // 3)}}}{'=' * (-size % 3)}:"
    for algorithm, size in SIZES.items()
)

DIGESTS: JsonObject = {
    "type": "string",
    "pattern": rf"^$|(^|,)[ \t]*({_BASE64_DIGESTS})[ \t]*(,|$)",
}
"""A field of RFC 9530 with a digest by any algorithm that is checked."""

FILE_ID: JsonObject = {"type": "string", "pattern": FILE_ID_PATTERN}

TOKEN_PROBLEMS: tuple[Slug, ...] = ("token-missing", *get_args(Refusal))

NEW_FILE_PROBLEMS: tuple[Slug, ...] = (
    *TOKEN_PROBLEMS,
    "token-revoked",
    "token-used",
    "upload-in-progress",
    "name-refused",
    "name-taken",
    "type-refused",
    "size-mismatch",
    "body-cut",
    "lifetime-refused",
    "too-large",
    "over-quota",
    "digest-mismatch",
    "node-closed",
    "no-replica-node",
    "not-replicated",
    "no-slot",
    "too-many-uploads",
    "too-slow",
    "no-memory",
    "no-space",
    "read-only",
    "storage-failed",
)
"""What whoever begins an upload may hear, however it is sent."""
