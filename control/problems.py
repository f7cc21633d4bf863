"""Every way a request to the control plane can go wrong, as a problem document (RFC 9457).

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
        "key-missing",
        "key-unknown",
        "scope-missing",
        "malformed-request",
        "body-too-large",
        "name-refused",
        "name-taken",
        "too-large",
        "type-refused",
        "no-space",
        "no-node",
        "rate-limited",
        "issuer-key-missing",
        "idempotency-conflict",
        "node-unknown",
        "heartbeat-replayed",
        "state-refused",
        "node-in-use",
        "pool-unknown",
        "pool-taken",
        "drain-impossible",
        "move-unknown",
        "move-conflict",
        "move-onto-itself",
        "move-impossible",
        "move-state",
        "receipt-conflict",
        "file-deleted",
        "file-unavailable",
        "not-found",
        "method-not-allowed",
        "database-unavailable",
        "internal-error",
    ]
)

_STATUS: dict[Slug, int] = {
    "scope-missing": HTTPStatus.FORBIDDEN,
    "token-wrong-node": HTTPStatus.FORBIDDEN,
    "malformed-request": HTTPStatus.BAD_REQUEST,
    "body-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "name-refused": HTTPStatus.BAD_REQUEST,
    "name-taken": HTTPStatus.CONFLICT,
    "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "type-refused": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
    "no-node": HTTPStatus.SERVICE_UNAVAILABLE,
    "rate-limited": HTTPStatus.TOO_MANY_REQUESTS,
    "issuer-key-missing": HTTPStatus.SERVICE_UNAVAILABLE,
    "idempotency-conflict": HTTPStatus.UNPROCESSABLE_ENTITY,
    "node-unknown": HTTPStatus.NOT_FOUND,
    "heartbeat-replayed": HTTPStatus.CONFLICT,
    "state-refused": HTTPStatus.CONFLICT,
    "node-in-use": HTTPStatus.CONFLICT,
    "pool-unknown": HTTPStatus.NOT_FOUND,
    "pool-taken": HTTPStatus.CONFLICT,
    "drain-impossible": HTTPStatus.CONFLICT,
    "move-unknown": HTTPStatus.NOT_FOUND,
    "move-conflict": HTTPStatus.CONFLICT,
    "move-onto-itself": HTTPStatus.UNPROCESSABLE_ENTITY,
    "move-impossible": HTTPStatus.CONFLICT,
    "move-state": HTTPStatus.CONFLICT,
    "receipt-conflict": HTTPStatus.CONFLICT,
    "file-deleted": HTTPStatus.GONE,
    "file-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "not-found": HTTPStatus.NOT_FOUND,
    "method-not-allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "database-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal-error": HTTPStatus.INTERNAL_SERVER_ERROR,
}

RETRY_AFTER = 5
"""Seconds a client is asked to wait where nothing better is known."""


def slugs() -> tuple[Slug, ...]:
    """Every slug."""
    return (*get_args(Refusal), *get_args(get_args(Slug)[1]))


class ProblemError(Exception):
    """A request that can't be served; `detail` tells its sender what to do.

    `headers` are added to those that belong to the status.
    """

    def __init__(self, slug: Slug, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug: Slug = slug
        self.detail = detail
        self._headers = dict(headers or {})
        # Every problem with a token or key that isn't listed says "who are you?".
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
        )
