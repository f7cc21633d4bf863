"""Every way a request can go wrong, as a problem document (RFC 9457).

A problem is raised where it is found and turned into an answer in one place (`app`). `slug` is the
part of `type` that programs switch on; the list of slugs is the API's list of errors.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal

from portside.tokens import Refusal, TokenRefused
from portside.wire import PROBLEM_PREFIX, Problem

Slug = (
    Refusal
    | Literal[
        "token-missing",
        "token-used",
        "upload-in-progress",
        "malformed-request",
        "name-refused",
        "name-taken",
        "length-required",
        "size-mismatch",
        "body-cut",
        "too-large",
        "type-refused",
        "digest-mismatch",
        "not-found",
        "method-not-allowed",
        "no-slot",
        "no-memory",
        "no-space",
        "read-only",
        "storage-failed",
        "internal-error",
    ]
)

_STATUS: dict[Slug, HTTPStatus] = {
    "token-wrong-node": HTTPStatus.FORBIDDEN,
    "token-used": HTTPStatus.CONFLICT,
    "upload-in-progress": HTTPStatus.CONFLICT,
    "malformed-request": HTTPStatus.BAD_REQUEST,
    "name-refused": HTTPStatus.BAD_REQUEST,
    "name-taken": HTTPStatus.CONFLICT,
    "length-required": HTTPStatus.LENGTH_REQUIRED,
    "size-mismatch": HTTPStatus.BAD_REQUEST,
    "body-cut": HTTPStatus.BAD_REQUEST,
    "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "type-refused": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "digest-mismatch": HTTPStatus.UNPROCESSABLE_ENTITY,
    "not-found": HTTPStatus.NOT_FOUND,
    "method-not-allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "no-slot": HTTPStatus.SERVICE_UNAVAILABLE,
    "no-memory": HTTPStatus.SERVICE_UNAVAILABLE,
    "read-only": HTTPStatus.SERVICE_UNAVAILABLE,
    "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
    "storage-failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal-error": HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER = 10
"""Seconds a client is asked to wait when a node is full: slots turn over that fast."""


class ProblemError(Exception):
    """A request that can't be served; `detail` tells its sender what to do."""

    def __init__(self, slug: Slug, detail: str) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug: Slug = slug
        self.detail = detail
        # Every token problem that isn't listed says "who are you?".
        self.status = _STATUS.get(slug, HTTPStatus.UNAUTHORIZED)

    @classmethod
    def from_token(cls, refused: TokenRefused) -> ProblemError:
        """The problem of a token that didn't verify."""
        return cls(refused.code, str(refused))

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status (RFC 9110, sections 10.2.3 and 11.6.1)."""
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": str(RETRY_AFTER)}
        if self.status == HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": 'Bearer realm="portside"'}
        return {}

    def document(self, instance: str) -> Problem:
        """The body of the answer; `instance` is the path that was asked for."""
        return Problem(
            type=PROBLEM_PREFIX + self.slug,
            title=self.slug.replace("-", " "),
            status=self.status.value,
            detail=self.detail,
            instance=instance,
        )
