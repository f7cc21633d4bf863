"""Every way a request can go wrong, as a problem document (RFC 9457).

A problem is raised where it is found and turned into an answer in one place (`app`). `slug` is the
part of `type` that programs switch on; the list of slugs is the API's list of errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal, get_args

from portside.journal import request_id
from portside.tokens import Refusal, TokenRefused
from portside.wire.problem import PROBLEM_PREFIX, Problem

Slug = (
    Refusal
    | Literal[
        "token-missing",
        "token-revoked",
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
        "right-missing",
        "source-unknown",
        "path-refused",
        "file-differs",
        "file-deleted",
        "file-damaged",
        "rate-limited",
        "not-found",
        "method-not-allowed",
        "no-replica-node",
        "not-replicated",
        "no-slot",
        "no-memory",
        "no-space",
        "read-only",
        "storage-failed",
        "internal-error",
    ]
)

_STATUS: dict[Slug, int] = {
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
    "right-missing": HTTPStatus.FORBIDDEN,
    "source-unknown": HTTPStatus.FORBIDDEN,
    "path-refused": HTTPStatus.FORBIDDEN,
    "file-differs": HTTPStatus.CONFLICT,
    "file-deleted": HTTPStatus.GONE,
    "file-damaged": HTTPStatus.GONE,
    "rate-limited": HTTPStatus.TOO_MANY_REQUESTS,
    "not-found": HTTPStatus.NOT_FOUND,
    "method-not-allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "no-replica-node": HTTPStatus.SERVICE_UNAVAILABLE,
    "not-replicated": HTTPStatus.GATEWAY_TIMEOUT,
    "no-slot": HTTPStatus.SERVICE_UNAVAILABLE,
    "no-memory": HTTPStatus.SERVICE_UNAVAILABLE,
    "read-only": HTTPStatus.SERVICE_UNAVAILABLE,
    "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
    "storage-failed": HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal-error": HTTPStatus.INTERNAL_SERVER_ERROR,
}


def slugs() -> tuple[Slug, ...]:
    """Every slug."""
    return (*get_args(Refusal), *get_args(get_args(Slug)[1]))


RETRY_AFTER = 10
"""Seconds a client is asked to wait when a node is full: slots turn over that fast."""


class ProblemError(Exception):
    """A request that can't be served; `detail` tells its sender what to do.

    `headers` are added to those that belong to the status, `members` to the document.
    """

    def __init__(
        self,
        slug: Slug,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug: Slug = slug
        self.detail = detail
        self._headers = dict(headers or {})
        self._members = dict(members or {})
        # Every token problem that isn't listed says "who are you?".
        self.status = int(_STATUS.get(slug, HTTPStatus.UNAUTHORIZED))

    @classmethod
    def from_token(cls, refused: TokenRefused) -> ProblemError:
        """The problem of a token that didn't verify."""
        return cls(refused.code, str(refused))

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer (RFC 9110, sections 10.2.3 and 11.6.1)."""
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": str(RETRY_AFTER), **self._headers}
        if self.status == HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": 'Bearer realm="portside"', **self._headers}
        return self._headers

    def document(self, instance: str) -> Problem:
        """The body of the answer; `instance` is the path that was asked for."""
        return Problem(
            type=PROBLEM_PREFIX + self.slug,
            title=self.slug.replace("-", " "),
            status=self.status,
            detail=self.detail,
            instance=instance,
            request_id=request_id() if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
            **self._members,
        )
