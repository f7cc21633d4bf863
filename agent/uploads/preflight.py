"""Everything that can be decided about an upload before its first byte.

Asked twice with the same code: by nginx, so that a refusal reaches the client before it sends
anything, and again when the upload starts, because the answer may have changed in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from agent.index.files import Index, name_taken
from agent.index.revocations import Revocations
from agent.index.uploads import Sessions
from agent.problems import ProblemError
from agent.settings import Settings
from agent.telemetry.health import NodeHealth
from agent.uploads.acknowledgement import Acknowledgement
from agent.uploads.admission import Admission, Demand
from agent.uploads.rate_limit import UploadRate
from agent.uploads.request import UploadRequest
from portside.content import extension_of, is_allowed
from portside.names import NameRefused, named_path, sanitise
from portside.quantities import format_size
from portside.tokens import Keyset, TokenRefused, verify_upload
from portside.wire.claims import StoredFile, UploadClaims

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
    stored: StoredFile | None = None
    """What this token has stored already: the same content again is answered with its receipt."""


class Preflight:
    """Decides about uploads by token, state of the node and what the request says of itself."""

    def __init__(
        self,
        settings: Settings,
        keyset: Keyset,
        index: Index,
        sessions: Sessions,
        health: NodeHealth,
        admission: Admission,
        rate: UploadRate,
        revocations: Revocations,
        acknowledgement: Acknowledgement,
    ) -> None:
        self._settings = settings
        self._keyset = keyset
        self._index = index
        self._sessions = sessions
        self._health = health
        self._admission = admission
        self._rate = rate
        self._revocations = revocations
        self._acknowledgement = acknowledgement

    def begin(self, asked: UploadRequest) -> Plan:
        """As `check`, for an upload that begins now: it counts against its owner's rate."""
        plan = self.check(asked)
        if plan.stored is None:
            self._rate.take(plan.claims.sub)
        return plan

    def check(self, asked: UploadRequest) -> Plan:
        """What will happen with this upload. Raises ProblemError, the first that applies."""
        claims = self.claims(asked.authorization)
        stored = self._index.find_by_token(claims.jti)
        if stored is not None:
            return self._replay(claims, asked, stored)
        self.check_unused(claims)
        if self._sessions.of_token(claims.jti):
            raise ProblemError(
                "upload-in-progress",
                "this token's upload has begun at /api/v1/uploads: go on there",
            )
        limit, expected = self._sizes(claims, asked)
        chosen = claims.name or asked.url_name
        name = None if chosen is None else self.check_name(claims, chosen)
        self.check_health()
        self.check_replicas(claims)
        plan = Plan(
            claims=claims,
            name=name,
            limit=limit,
            sha256=_one_digest(claims.sha256, asked.sha256),
            demand=Demand(
                key=claims.jti,
                path=fixed_path(claims, name),
                disk=limit if expected is None else expected,
            ),
        )
        self._admission.check(plan.demand)
        self._rate.check(claims.sub)
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
        path = fixed_path(claims, safe)
        if path is not None and not self._is_own(path, claims):
            if self._index.path_taken(path) or (self._settings.uploads / path).exists():
                raise name_taken(path)
            if self._sessions.reserves(path, claims.jti):
                raise ProblemError("name-taken", f"{path} is being uploaded by someone else")
        return safe

    def _is_own(self, path: PurePosixPath, claims: UploadClaims) -> bool:
        """Whether this token's own file is there: who asks again is told of it, not refused."""
        stored = self._index.find_by_token(claims.jti)
        return stored is not None and stored.path == path

    def claims(self, authorization: str, *, resuming: bool = False) -> UploadClaims:
        """The claims of a request's token; for an upload that has begun, until its deadline."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise ProblemError("token-missing", "send 'Authorization: Bearer <upload token>'")
        try:
            claims = verify_upload(
                token.strip(), self._keyset, self._settings.node_id, resuming=resuming
            )
        except TokenRefused as refused:
            if resuming and refused.code == "token-expired":
                raise ProblemError(
                    "upload-expired", "this upload's deadline has passed: begin a new one"
                ) from None
            raise ProblemError.from_token(refused) from None
        self._revocations.refuse(claims.jti)
        return claims

    def check_unused(self, claims: UploadClaims) -> None:
        """Raise ProblemError when a token or its file's id was used before."""
        if self._index.token_spent(claims.jti, claims.file_id):
            raise ProblemError("token-used", "this token was used for a file: get a new one")

    def check_health(self) -> None:
        """Raise ProblemError when the node takes no uploads."""
        reasons = self._health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node takes no uploads: " + "; ".join(reasons))

    def check_replicas(self, claims: UploadClaims) -> None:
        """Raise ProblemError when the token wants a second copy that no node could take."""
        self._acknowledgement.check(claims)

    def check_rate(self, claims: UploadClaims) -> None:
        """Raise ProblemError when the token's owner has begun too many uploads."""
        self._rate.check(claims.sub)

    def count_begun(self, claims: UploadClaims) -> None:
        """An upload of the token's owner begins now. Raises as `check_rate`."""
        self._rate.take(claims.sub)

    def limit(self, claims: UploadClaims) -> int:
        """The most bytes the token's file may have. Raises ProblemError if the node takes less."""
        limit = min(claims.size_limit, self._settings.max_size)
        if claims.size is not None and claims.size > limit:
            raise too_large(claims.size, limit)
        return limit

    def _replay(self, claims: UploadClaims, asked: UploadRequest, stored: StoredFile) -> Plan:
        """The token's file is stored: only its very content may come again."""
        if asked.boundary is None and asked.length not in (None, stored.size):
            raise token_used(stored)
        if asked.sha256 not in (None, stored.sha256):
            raise token_used(stored)
        demand = Demand(key=claims.jti, path=None, disk=0)
        self._admission.check(demand)
        return Plan(claims, stored.name, stored.size, stored.sha256, demand, stored)

    def _sizes(self, claims: UploadClaims, asked: UploadRequest) -> tuple[int, int | None]:
        """The most bytes the file may have, and how many it will have if that is known."""
        limit = self.limit(claims)
        if asked.length is None:
            return limit, claims.size
        if asked.boundary is None:
            if asked.length > limit and claims.size is None:
                raise too_large(asked.length, limit)
            if claims.size is not None and asked.length != claims.size:
                raise size_mismatch(asked.length, claims.size)
            return limit, asked.length
        if asked.length > limit + FORM_OVERHEAD:
            raise too_large(asked.length, limit)
        if claims.size is not None and asked.length < claims.size:
            raise size_mismatch(asked.length, claims.size)
        return limit, min(asked.length, limit) if claims.size is None else claims.size


def _one_digest(claimed: str | None, sent: str | None) -> str | None:
    if claimed and sent and claimed != sent:
        raise ProblemError("digest-mismatch", "Repr-Digest is not the digest the token names")
    return claimed or sent


def fixed_path(claims: UploadClaims, name: str | None) -> PurePosixPath | None:
    """Where a file will lie, if that is known before it is complete."""
    if name is None or claims.layout != "named":
        return None
    return named_path(claims.namespace, name)


def token_used(stored: StoredFile) -> ProblemError:
    """The one answer to other content than what a token has stored."""
    return ProblemError(
        "token-used",
        f"this token has stored other content (see /api/v1/files/{stored.file_id}): get a new one",
    )


def too_large(size: int, limit: int) -> ProblemError:
    """The one answer to a file that is larger than it may be."""
    return ProblemError(
        "too-large", f"{format_size(size)} is too large: at most {format_size(limit)} may be sent"
    )


def size_mismatch(sent: int, claimed: int) -> ProblemError:
    """The one answer to a file of another size than its token says."""
    return ProblemError("size-mismatch", f"the token is for {claimed} bytes, {sent} were announced")
