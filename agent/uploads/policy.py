"""The rules that uploads are let in by: token, name, type, size, the node's state, who may begin.

Each rule is asked by itself and raises the problem that applies. Whole files in one request are
decided about in `agent.uploads.preflight`, uploads that go on in `agent.resumable.service`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from agent.cluster.roster import Rosters
from agent.index.files import FileIndex, TokenUse, name_taken
from agent.index.revocations import Revocations
from agent.index.uploads import UploadIndex
from agent.problems import ProblemError
from agent.settings import Settings
from agent.telemetry import clock
from agent.telemetry.health import NodeHealth
from agent.uploads.acknowledgement import Acknowledgement
from agent.uploads.rate_limit import UploadRate
from agent.uploads.request import UploadRequest
from portside.content import extension_of, is_allowed, why_refused
from portside.names import NameRefused, named_path, sanitise
from portside.quantities import format_size
from portside.tokens import TokenRefused, verify_upload
from portside.web.authorization import bearer
from portside.wire import paths
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset

FORM_OVERHEAD = 64 * 1024
"""Bytes that a form's boundaries, headers and small fields may add to the file."""


@dataclass(frozen=True, slots=True)
class UploadPolicy:
    """The rules of one node, and what they look at. Every one of them raises ProblemError."""

    settings: Settings
    issuers: Callable[[], Keyset]
    index: FileIndex
    uploads: UploadIndex
    health: NodeHealth
    rate: UploadRate
    revocations: Revocations
    acknowledgement: Acknowledgement
    rosters: Rosters

    def use_of(self, claims: UploadClaims) -> TokenUse:
        """What became of a token so far."""
        return self.index.use_of(claims.jti, claims.file_id)

    def safe_name(self, claims: UploadClaims, name: str, own: StoredFile | None) -> str:
        """A name made safe, its type allowed, its place free.

        Where `own` is, the file that this token has stored, who asks again is told of it, not
        refused.
        """
        try:
            safe = sanitise(name)
        except NameRefused as error:
            raise ProblemError("name-refused", str(error)) from None
        extension = extension_of(safe)
        if not is_allowed(extension, self.settings.extensions):
            raise ProblemError("type-refused", why_refused(extension, self.settings.extensions))
        path = fixed_path(claims, safe)
        if path is not None and (own is None or own.path != path):
            if self.index.path_taken(path) or (self.settings.uploads / path).exists():
                raise name_taken(path)
            if self.uploads.reserves(path, claims.jti):
                raise ProblemError("name-taken", f"{path} is being uploaded by someone else")
        return safe

    def claims(self, authorization: str, *, resuming: bool = False) -> UploadClaims:
        """The claims of a request's token; for an upload that has begun, until its deadline."""
        token = bearer(authorization)
        if token is None:
            raise ProblemError("token-missing", "send 'Authorization: Bearer <upload token>'")
        try:
            claims = verify_upload(token, self.issuers(), self.settings.node_id, resuming=resuming)
        except TokenRefused as refused:
            problem = clock.refused(self.settings, refused)
            if resuming and refused.code == "token-expired":
                problem = ProblemError(
                    "upload-expired", "this upload's deadline has passed: begin a new one"
                )
            raise problem from None
        self.revocations.refuse(claims.jti)
        return claims

    def check_unused(self, use: TokenUse) -> None:
        """A token stores one file."""
        if use.spent:
            raise ProblemError("token-used", "this token was used for a file: get a new one")

    def check_health(self) -> None:
        """The node takes uploads at all."""
        reasons = self.health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node takes no uploads: " + "; ".join(reasons))

    def check_state(self, claims: UploadClaims) -> None:
        """An operator wants new files on this node, as far as the roster says.

        A session's upload was promised its place by the control plane, whatever was wanted since.
        """
        roster = self.rosters.current()
        own = roster.find(self.settings.node_id)
        if claims.app is not None or own is None or own.state in ("active", "down"):
            return
        others = [each.node_id for each in roster.nodes if each.state == "active"]
        raise ProblemError(
            "node-closed",
            f"{own.node_id} is {own.state}: it takes no new files; "
            + (f"use {', '.join(others)}" if others else "no other node is active"),
        )

    def check_lifetime(self, claims: UploadClaims) -> None:
        """The file's namespace allows a lifetime as long as the token's."""
        refused = self.settings.lifetimes.why_refused(claims.namespace, claims.expires_in)
        if refused is not None:
            raise ProblemError("lifetime-refused", refused)

    def check_replicas(self, claims: UploadClaims) -> None:
        """Some node could take the second copy that the token wants."""
        self.acknowledgement.check(claims)

    def check_rate(self, claims: UploadClaims) -> None:
        """The token's owner has not begun too many uploads."""
        self.rate.check(claims.sub)

    def count_begun(self, claims: UploadClaims) -> None:
        """An upload of the token's owner begins now: it counts against `check_rate`."""
        self.rate.take(claims.sub)

    def limit(self, claims: UploadClaims) -> int:
        """The most bytes the token's file may have. The node may take less."""
        limit = min(claims.size_limit, self.settings.max_size)
        if claims.size is not None and claims.size > limit:
            raise too_large(claims.size, limit)
        return limit

    def sizes(self, claims: UploadClaims, asked: UploadRequest) -> tuple[int, int | None]:
        """The most bytes the file may have, and how many it will have if that is known."""
        limit = self.limit(claims)
        if asked.size is not None:
            if asked.size > limit and claims.size is None:
                raise too_large(asked.size, limit)
            if claims.size is not None and asked.size != claims.size:
                raise size_mismatch(asked.size, claims.size)
        size = claims.size if asked.size is None else asked.size
        if asked.boundary is None or asked.length is None:
            return limit, size
        if asked.length > limit + FORM_OVERHEAD:
            raise too_large(asked.length, limit)
        if size is not None and asked.length < size:
            raise size_mismatch(asked.length, size)
        return limit, min(asked.length, limit) if size is None else size


def one_digest(claimed: str | None, sent: str | None) -> str | None:
    """The digest that the content must have, if the token or the request names one."""
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
        f"this token has stored other content (see {paths.FILES}/{stored.file_id}): get a new one",
    )


def too_large(size: int, limit: int) -> ProblemError:
    """The one answer to a file that is larger than it may be."""
    return ProblemError(
        "too-large",
        f"{format_size(size)} is too large: at most {format_size(limit)} may be sent",
        headers={"Upload-Limit": f"max-size={limit}"},
    )


def unnamed() -> ProblemError:
    """The one answer to an upload that nothing names, or in no letters that can be read."""
    return ProblemError(
        "name-refused",
        "the upload has no name that can be read: put one, in UTF-8, into the URL, the form or the "
        "token",
    )


def size_mismatch(sent: int, claimed: int) -> ProblemError:
    """The one answer to a file of another size than its token says."""
    return ProblemError("size-mismatch", f"the token is for {claimed} bytes, {sent} were announced")
