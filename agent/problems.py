"""Every way a request can go wrong: the slugs, and the status that each has.

A slug is the part of a problem's `type` that programs switch on; the list of slugs is the API's
list of errors. What problems have in common stands in `portside.web.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Literal, get_args

from portside.tokens import Refusal
from portside.web.problems import BaseProblemError, CommonSlug, SharedSlug

OwnSlug = Literal[
    "token-missing",
    "token-revoked",
    "token-used",
    "upload-in-progress",
    "name-refused",
    "name-taken",
    "length-required",
    "size-mismatch",
    "partial-file",
    "body-cut",
    "too-large",
    "over-quota",
    "type-refused",
    "digest-mismatch",
    "checksum-mismatch",
    "checksum-unsupported",
    "offset-mismatch",
    "upload-unknown",
    "upload-expired",
    "upload-complete",
    "upload-locked",
    "parts-incomplete",
    "protocol-version",
    "media-type",
    "expectation-failed",
    "precondition-failed",
    "right-missing",
    "source-unknown",
    "order-missing",
    "order-refused",
    "path-refused",
    "file-differs",
    "file-deleted",
    "file-expired",
    "lifetime-refused",
    "lifetime-elsewhere",
    "file-damaged",
    "being-checked",
    "infected",
    "not-settled",
    "rate-limited",
    "throttled",
    "too-many-uploads",
    "too-slow",
    "node-closed",
    "no-replica-node",
    "not-replicated",
    "no-slot",
    "no-memory",
    "no-space",
    "read-only",
    "clock-off",
    "storage-failed",
]

Slug = SharedSlug | OwnSlug


def slugs() -> tuple[Slug, ...]:
    """Every slug."""
    return (*get_args(Refusal), *get_args(CommonSlug), *get_args(OwnSlug))


class ProblemError(BaseProblemError[OwnSlug]):
    """A request to the node that can't be served."""

    # Slots turn over that fast.
    retry_after = 10

    statuses: ClassVar[Mapping[OwnSlug, int]] = {
        "token-used": HTTPStatus.CONFLICT,
        "upload-in-progress": HTTPStatus.CONFLICT,
        "name-refused": HTTPStatus.BAD_REQUEST,
        "name-taken": HTTPStatus.CONFLICT,
        "length-required": HTTPStatus.LENGTH_REQUIRED,
        "size-mismatch": HTTPStatus.BAD_REQUEST,
        # RFC 9110, section 14.5, for a PUT with a Content-Range.
        "partial-file": HTTPStatus.BAD_REQUEST,
        "body-cut": HTTPStatus.BAD_REQUEST,
        "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        # Of RFC 4918's 507, as of any 5xx, clients think that it passes, and send all again.
        "over-quota": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "type-refused": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "digest-mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
        # A status of tus's own (checksum extension).
        "checksum-mismatch": 460,
        "checksum-unsupported": HTTPStatus.BAD_REQUEST,
        "offset-mismatch": HTTPStatus.CONFLICT,
        "upload-unknown": HTTPStatus.NOT_FOUND,
        "upload-expired": HTTPStatus.GONE,
        "upload-complete": HTTPStatus.FORBIDDEN,
        "upload-locked": HTTPStatus.LOCKED,
        "parts-incomplete": HTTPStatus.CONFLICT,
        "protocol-version": HTTPStatus.PRECONDITION_FAILED,
        "media-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "expectation-failed": HTTPStatus.EXPECTATION_FAILED,
        "precondition-failed": HTTPStatus.PRECONDITION_FAILED,
        "right-missing": HTTPStatus.FORBIDDEN,
        "source-unknown": HTTPStatus.FORBIDDEN,
        "order-missing": HTTPStatus.FORBIDDEN,
        "order-refused": HTTPStatus.FORBIDDEN,
        "path-refused": HTTPStatus.FORBIDDEN,
        "file-differs": HTTPStatus.CONFLICT,
        "file-deleted": HTTPStatus.GONE,
        "file-expired": HTTPStatus.GONE,
        "lifetime-refused": HTTPStatus.UNPROCESSABLE_ENTITY,
        "lifetime-elsewhere": HTTPStatus.CONFLICT,
        "file-damaged": HTTPStatus.GONE,
        # It is there and may be served later: neither 404 nor 410, and no 451, which names a law.
        "being-checked": HTTPStatus.FORBIDDEN,
        # As it: who has looked may have been wrong, and it may be served once somebody says so.
        "infected": HTTPStatus.FORBIDDEN,
        "not-settled": HTTPStatus.CONFLICT,
        "rate-limited": HTTPStatus.TOO_MANY_REQUESTS,
        "too-many-uploads": HTTPStatus.TOO_MANY_REQUESTS,
        # RFC 9110, section 15.5.9.
        "too-slow": HTTPStatus.REQUEST_TIMEOUT,
        # The same, for clients of tus: they come again after this status.
        "throttled": HTTPStatus.SERVICE_UNAVAILABLE,
        "node-closed": HTTPStatus.CONFLICT,
        "no-replica-node": HTTPStatus.SERVICE_UNAVAILABLE,
        "not-replicated": HTTPStatus.GATEWAY_TIMEOUT,
        "no-slot": HTTPStatus.SERVICE_UNAVAILABLE,
        "clock-off": HTTPStatus.SERVICE_UNAVAILABLE,
        "no-memory": HTTPStatus.SERVICE_UNAVAILABLE,
        "read-only": HTTPStatus.SERVICE_UNAVAILABLE,
        "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
        "storage-failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    }
