"""Every way a request to the control plane can go wrong: the slugs, and the status that each has.

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
    "key-missing",
    "key-unknown",
    "scope-missing",
    "namespace-refused",
    "right-missing",
    "body-too-large",
    "media-type",
    "name-refused",
    "name-taken",
    "too-large",
    "type-refused",
    "no-space",
    "over-quota",
    "too-much-promised",
    "no-node",
    "node-closed",
    "rate-limited",
    "issuer-key-missing",
    "idempotency-conflict",
    "app-unknown",
    "app-refused",
    "token-revoked",
    "revocations-full",
    "node-unknown",
    "heartbeat-replayed",
    "node-twice",
    "state-refused",
    "node-in-use",
    "pool-unknown",
    "pool-taken",
    "pool-in-use",
    "drain-impossible",
    "move-unknown",
    "move-conflict",
    "move-onto-itself",
    "move-impossible",
    "move-state",
    "receipt-conflict",
    "file-deleted",
    "file-expired",
    "lifetime-refused",
    "file-not-stored",
    "being-checked",
    "infected",
    "file-unavailable",
    "database-unavailable",
]

Slug = SharedSlug | OwnSlug


def slugs() -> tuple[Slug, ...]:
    """Every slug."""
    return (*get_args(Refusal), *get_args(CommonSlug), *get_args(OwnSlug))


class ProblemError(BaseProblemError[OwnSlug]):
    """A request to the control plane that can't be served."""

    retry_after = 5

    statuses: ClassVar[Mapping[OwnSlug, int]] = {
        "scope-missing": HTTPStatus.FORBIDDEN,
        "namespace-refused": HTTPStatus.FORBIDDEN,
        "right-missing": HTTPStatus.FORBIDDEN,
        "body-too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "media-type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "name-refused": HTTPStatus.BAD_REQUEST,
        "name-taken": HTTPStatus.CONFLICT,
        "too-large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "type-refused": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "too-much-promised": HTTPStatus.TOO_MANY_REQUESTS,
        "no-space": HTTPStatus.INSUFFICIENT_STORAGE,
        # Not 507: clients try that again by themselves, and only a person can make room here.
        "over-quota": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "no-node": HTTPStatus.SERVICE_UNAVAILABLE,
        "node-closed": HTTPStatus.CONFLICT,
        "rate-limited": HTTPStatus.TOO_MANY_REQUESTS,
        "issuer-key-missing": HTTPStatus.SERVICE_UNAVAILABLE,
        "idempotency-conflict": HTTPStatus.UNPROCESSABLE_ENTITY,
        "app-unknown": HTTPStatus.NOT_FOUND,
        "app-refused": HTTPStatus.CONFLICT,
        "revocations-full": HTTPStatus.CONFLICT,
        "node-unknown": HTTPStatus.NOT_FOUND,
        "heartbeat-replayed": HTTPStatus.CONFLICT,
        "node-twice": HTTPStatus.CONFLICT,
        "state-refused": HTTPStatus.CONFLICT,
        "node-in-use": HTTPStatus.CONFLICT,
        "pool-unknown": HTTPStatus.NOT_FOUND,
        "pool-taken": HTTPStatus.CONFLICT,
        "pool-in-use": HTTPStatus.CONFLICT,
        "drain-impossible": HTTPStatus.CONFLICT,
        "move-unknown": HTTPStatus.NOT_FOUND,
        "move-conflict": HTTPStatus.CONFLICT,
        "move-onto-itself": HTTPStatus.UNPROCESSABLE_ENTITY,
        "move-impossible": HTTPStatus.CONFLICT,
        "move-state": HTTPStatus.CONFLICT,
        "receipt-conflict": HTTPStatus.CONFLICT,
        "file-deleted": HTTPStatus.GONE,
        "file-expired": HTTPStatus.GONE,
        "lifetime-refused": HTTPStatus.UNPROCESSABLE_ENTITY,
        "file-not-stored": HTTPStatus.CONFLICT,
        "being-checked": HTTPStatus.FORBIDDEN,
        "infected": HTTPStatus.FORBIDDEN,
        "file-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
        "database-unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    }
