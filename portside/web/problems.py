"""What every problem document (RFC 9457) of ours has in common: slug, status, headers, body.

Agent and control plane each derive a `ProblemError` of their own, with its slugs and their
statuses. It is raised where a problem is found and turned into an answer in one place
(`portside.web.app`).
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from portside.journal import request_id
from portside.tokens import Refusal, TokenRefused
from portside.wire.problem import PROBLEM_PREFIX, Problem

PROBLEM_TYPE = "application/problem+json"
"""The media type of problem documents."""

CommonSlug = Literal["malformed-request", "not-found", "method-not-allowed", "internal-error"]
"""What any request to any of our services may hear, whoever wrote its handler."""

SharedSlug = Refusal | CommonSlug
"""The slugs that every service has: those of tokens, and those of any request."""

OwnSlug = TypeVar("OwnSlug", bound=str)
"""The slugs of one service beside the shared ones, as a Literal."""

_SHARED_STATUSES: dict[SharedSlug, int] = {
    "token-wrong-node": HTTPStatus.FORBIDDEN,
    "malformed-request": HTTPStatus.BAD_REQUEST,
    "not-found": HTTPStatus.NOT_FOUND,
    "method-not-allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "internal-error": HTTPStatus.INTERNAL_SERVER_ERROR,
}


class BaseProblemError(Exception, Generic[OwnSlug]):
    """A request that can't be served; `detail` tells its sender what to do.

    `slug` is the part of `type` that programs switch on. `headers` are added to those that belong
    to the status, `members` to the document.
    """

    statuses: ClassVar[Mapping[Any, int]] = {}
    """Of the service's own slugs."""

    retry_after: ClassVar[int]
    """Seconds that whoever hears 503 is asked to wait where nothing better is known."""

    def __init__(
        self,
        slug: OwnSlug | SharedSlug,
        detail: str,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self._headers = dict(headers or {})
        self._members = dict(members or {})
        shared: Mapping[Any, int] = _SHARED_STATUSES
        # Every problem with a token or key that isn't listed says "who are you?".
        status = self.statuses.get(slug) or shared.get(slug, HTTPStatus.UNAUTHORIZED)
        self.status = int(status)

    @classmethod
    def from_token(cls, refused: TokenRefused) -> Self:
        """The problem of a token that didn't verify."""
        return cls(refused.code, str(refused))

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer (RFC 9110, sections 10.2.3 and 11.6.1)."""
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            return {"Retry-After": str(self.retry_after), **self._headers}
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
