"""What every problem document (RFC 9457) of ours has in common: slug, status, headers, body.

Agent and control plane each derive a `ProblemError` of their own, with its slugs and their
statuses. It is raised where a problem is found and turned into an answer in one place
(`portside.web.app`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

from portside.journal import request_id
from portside.tokens import Refusal, TokenRefused
from portside.wire.problem import PROBLEM_PREFIX, REGISTERED_PREFIX, Problem

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

_LONGEST_INSTANCE = 1024
"""Characters of a path that are told again: behind nginx a refusal travels as one header."""


@dataclass(frozen=True, slots=True)
class RegisteredType:
    """A problem type that a standard registers: its name in IANA's registry, its status there."""

    name: str
    status: int

    @property
    def uri(self) -> str:
        """What programs switch on."""
        return REGISTERED_PREFIX + self.name


class BaseProblemError(Exception, Generic[OwnSlug]):
    """A request that can't be served; `detail` tells its sender what to do.

    `slug` is the part of `type` that programs switch on. `headers` are added to those that belong
    to the status, `members` to the document. `registered` is the type that a protocol has for it:
    who speaks that protocol hears this one, with its status; in logs and metrics it is the slug.
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
        registered: RegisteredType | None = None,
    ) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail
        self._headers = dict(headers or {})
        self._members = dict(members or {})
        self._registered = registered
        shared: Mapping[Any, int] = _SHARED_STATUSES
        # Every problem with a token or key that isn't listed says "who are you?".
        status = self.statuses.get(slug) or shared.get(slug, HTTPStatus.UNAUTHORIZED)
        self.status = int(status if registered is None else registered.status)

    @classmethod
    def from_token(cls, refused: TokenRefused) -> Self:
        """The problem of a token that didn't verify."""
        return cls(refused.code, str(refused))

    def told_as(self, registered: RegisteredType | None, headers: Mapping[str, str]) -> Self:
        """The same problem as a protocol has it: its type if there is one, and its headers."""
        return type(self)(
            self.slug, self.detail, {**headers, **self._headers}, self._members, registered
        )

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
            type=PROBLEM_PREFIX + self.slug if self._registered is None else self._registered.uri,
            title=(self._registered.name if self._registered else self.slug).replace("-", " "),
            status=self.status,
            detail=self.detail,
            instance=instance if len(instance) <= _LONGEST_INSTANCE else None,
            request_id=request_id() if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
            **self._members,
        )
