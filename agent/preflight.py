"""Everything that can be decided about an upload before its first byte.

Asked twice with the same code: by nginx, so that a refusal reaches the client before it sends
anything, and again when the upload starts, because the answer may have changed in between.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.admission import Admission, Demand
from agent.facts import UploadFacts
from agent.health import NodeHealth
from agent.index import Index, name_taken
from agent.problems import ProblemError
from agent.settings import Settings
from portside.content import extension_of, is_allowed
from portside.names import NameRefused, named_path, sanitise
from portside.quantities import format_size
from portside.tokens import Keyset, TokenRefused, verify_upload
from portside.wire import UploadClaims

FORM_OVERHEAD = 64 * 1024
"""Bytes that a form's boundaries, headers and small fields may add to the file."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An upload that may start. `name` is None while only the form's part knows it."""

    claims: UploadClaims
    name: str | None
    limit: int
    sha256: str | None
    demand: Demand


class Preflight:
    """Decides about uploads by token, state of the node and what the request says of itself."""

    def __init__(
        self,
        settings: Settings,
        keyset: Keyset,
        index: Index,
        health: NodeHealth,
        admission: Admission,
    ) -> None:
        self._settings = settings
        self._keyset = keyset
        self._index = index
        self._health = health
        self._admission = admission

    def check(self, facts: UploadFacts) -> Plan:
        """What will happen with this upload. Raises ProblemError, the first that applies."""
        claims = self._claims(facts.authorization)
        self._check_unused(claims)
        limit, expected = self._sizes(claims, facts)
        chosen = claims.name or facts.url_name
        name = None if chosen is None else self.check_name(claims, chosen)
        reasons = self._health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node takes no uploads: " + "; ".join(reasons))
        plan = Plan(
            claims=claims,
            name=name,
            limit=limit,
            sha256=_one_digest(claims.sha256, facts.sha256),
            demand=Demand(
                jti=claims.jti,
                path=named_path(claims.namespace, name)
                if name is not None and claims.layout == "named"
                else None,
                disk=limit if expected is None else expected,
            ),
        )
        self._admission.check(plan.demand)
        return plan

    def check_name(self, claims: UploadClaims, name: str) -> str:
        """A name made safe, its type allowed, its place free. Raises ProblemError."""
        try:
            safe = sanitise(name)
        except NameRefused as error:
            raise ProblemError("name-refused", str(error)) from None
        extension = extension_of(safe)
        if not is_allowed(extension, self._settings.extensions):
            raise ProblemError(
                "type-refused",
                f"files ending in {extension or 'nothing'} are not taken on this node; "
                f"allowed are {' '.join(self._settings.extensions)}",
            )
        if claims.layout == "named":
            path = named_path(claims.namespace, safe)
            if self._index.path_taken(path) or (self._settings.uploads / path).exists():
                raise name_taken(path)
        return safe

    def _claims(self, authorization: str) -> UploadClaims:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ProblemError("token-missing", "send 'Authorization: Bearer <upload token>'")
        try:
            return verify_upload(token.strip(), self._keyset, self._settings.node_id)
        except TokenRefused as refused:
            raise ProblemError.from_token(refused) from None

    def _check_unused(self, claims: UploadClaims) -> None:
        stored = self._index.find_by_token(claims.jti) or self._index.find(claims.file_id)
        if stored is not None:
            raise ProblemError(
                "token-used",
                f"this token's file is stored already: GET /api/v1/files/{stored.file_id}",
            )

    def _sizes(self, claims: UploadClaims, facts: UploadFacts) -> tuple[int, int | None]:
        """The most bytes the file may have, and how many it will have if that is known."""
        limit = min(claims.size_limit, self._settings.max_size)
        if claims.size is not None and claims.size > limit:
            raise _too_large(claims.size, limit)
        if facts.length is None:
            return limit, claims.size
        if facts.boundary is None:
            if facts.length > limit and claims.size is None:
                raise _too_large(facts.length, limit)
            if claims.size is not None and facts.length != claims.size:
                raise _size_mismatch(facts.length, claims.size)
            return limit, facts.length
        if facts.length > limit + FORM_OVERHEAD:
            raise _too_large(facts.length, limit)
        if claims.size is not None and facts.length < claims.size:
            raise _size_mismatch(facts.length, claims.size)
        return limit, min(facts.length, limit) if claims.size is None else claims.size


def _one_digest(claimed: str | None, sent: str | None) -> str | None:
    if claimed and sent and claimed != sent:
        raise ProblemError("digest-mismatch", "Repr-Digest is not the digest the token names")
    return claimed or sent


def _too_large(size: int, limit: int) -> ProblemError:
    return ProblemError(
        "too-large", f"{format_size(size)} is too large: at most {format_size(limit)} may be sent"
    )


def _size_mismatch(sent: int, claimed: int) -> ProblemError:
    return ProblemError("size-mismatch", f"the token is for {claimed} bytes, {sent} were announced")
