"""Everything that can be decided about an upload before its first byte.

Asked twice with the same code: by nginx, so that a refusal reaches the client before it sends
anything, and again when the upload starts, because the answer may have changed in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.problems import ProblemError
from agent.uploads.admission import Admission, Demand
from agent.uploads.disk_space import promise_for
from agent.uploads.policy import (
    FORM_OVERHEAD,
    UploadPolicy,
    fixed_path,
    one_digest,
    token_used,
    unnamed,
)
from agent.uploads.quotas import claim_of
from agent.uploads.request import UploadRequest
from agent.uploads.shares import Sender
from portside.web.authorization import bearer
from portside.wire import paths
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile
from portside.wire.status import INODES_PER_FILE


@dataclass(frozen=True, slots=True)
class Plan:
    """An upload that may start. `name` is None while only the form's part knows it."""

    claims: UploadClaims
    name: str | None
    limit: int
    sha256: str | None
    demand: Demand
    length: int | None = None
    """Bytes of the file, if that is known."""
    stored: StoredFile | None = None
    """What this token has stored already: the same content again is answered with its receipt."""
    announced: int | None = None
    """Bytes that the request says the file has, if it says so."""
    token: str | None = None
    """What the claims were read from."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """Decides about uploads in one request by the node's rules and what is left to give."""

    policy: UploadPolicy
    admission: Admission

    def begin(self, asked: UploadRequest) -> Plan:
        """As `check`, for an upload that begins now: it counts against its owner's rate."""
        plan = self.check(asked)
        if plan.stored is None:
            self.policy.count_begun(plan.claims)
        return plan

    def check(self, asked: UploadRequest) -> Plan:
        """What will happen with this upload. Raises ProblemError, the first that applies."""
        policy = self.policy
        claims = policy.claims(asked.authorization)
        use = policy.use_of(claims)
        if use.stored is not None:
            return self._replay(claims, asked, use.stored)
        policy.check_unused(use)
        if use.upload_begun:
            raise ProblemError(
                "upload-in-progress",
                f"this token's upload has begun at {paths.RESUMABLE_UPLOADS}: go on there",
            )
        if asked.only_replacing:
            raise ProblemError(
                "precondition-failed", "If-Match: a token stores a new file and replaces none"
            )
        limit, expected = policy.sizes(claims, asked)
        # Of a form that doesn't say its file's size its own is known.
        in_form = asked.size is None and claims.size is None and asked.boundary is not None
        name = self._name(claims, asked)
        policy.check_health()
        policy.check_state(claims)
        policy.check_lifetime(claims)
        policy.check_replicas(claims)
        plan = Plan(
            claims=claims,
            name=name,
            limit=limit,
            length=expected,
            sha256=one_digest(claims.sha256, asked.sha256),
            demand=Demand(
                key=claims.jti,
                path=fixed_path(claims, name),
                disk=promise_for(expected, limit),
                inodes=INODES_PER_FILE,
                sender=Sender(claims.jti, claims.sub, asked.address),
                claim=claim_of(claims, expected, limit, FORM_OVERHEAD if in_form else 0),
            ),
            announced=asked.size,
            token=bearer(asked.authorization),
        )
        self.admission.check(plan.demand)
        policy.check_rate(claims)
        return plan

    def _name(self, claims: UploadClaims, asked: UploadRequest) -> str | None:
        """The file's name, None where a form has yet to tell it. Raises ProblemError."""
        chosen = claims.name or asked.sent_name
        if chosen is None:
            if asked.boundary is None:
                raise unnamed()
            return None
        try:
            return self.policy.safe_name(claims, chosen, own=None)
        except ProblemError as problem:
            if problem.slug == "name-taken" and asked.only_new:
                raise ProblemError(
                    "precondition-failed", f"If-None-Match: {problem.detail}"
                ) from None
            raise

    def _replay(self, claims: UploadClaims, asked: UploadRequest, stored: StoredFile) -> Plan:
        """The token's file is stored: only its very content may come again."""
        if asked.boundary is None and asked.length not in (None, stored.size):
            raise token_used(stored)
        if asked.size not in (None, stored.size) or asked.sha256 not in (None, stored.sha256):
            raise token_used(stored)
        if asked.only_replacing and not _matches(asked.only_replacing, stored.sha256):
            raise ProblemError("precondition-failed", "If-Match: the stored file has another ETag")
        sender = Sender(claims.jti, claims.sub, asked.address)
        demand = Demand(key=claims.jti, path=None, disk=0, sender=sender)
        self.admission.check(demand)
        return Plan(claims, stored.name, stored.size, stored.sha256, demand, stored.size, stored)


def _matches(field: str, sha256: str) -> bool:
    """Whether an If-Match names a file by its ETag, which is its SHA-256 in quotes."""
    return field == "*" or f'"{sha256}"' in (each.strip() for each in field.split(","))
