"""What descriptions of several operations have in common."""

from __future__ import annotations

from typing import get_args

from agent.api.openapi.document import JsonObject
from agent.problems import Slug
from portside.tokens import Refusal
from portside.wire.fields import FILE_ID_PATTERN

BINARY: JsonObject = {"type": "string", "format": "binary"}

DIGEST: JsonObject = {
    "type": "string",
    "pattern": r"^$|(^|,)[ \t]*sha-256=:[A-Za-z0-9+/]{43}=:[ \t]*(,|$)",
}
"""A `Repr-Digest` with a SHA-256 (RFC 9530); an empty one says nothing (RFC 9651, section 3.2)."""

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
    "too-large",
    "digest-mismatch",
    "no-replica-node",
    "not-replicated",
    "no-slot",
    "no-memory",
    "no-space",
    "read-only",
    "storage-failed",
)
"""What whoever begins an upload may hear, however it is sent."""
