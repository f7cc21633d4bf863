"""What a resumable upload may become, decided before it exists: by token, name, size and kind."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.dialects.metadata import parse_metadata
from agent.dialects.request import ResumableRequest
from agent.index.files import TokenUse
from agent.index.uploads import Copied, Details, Kind, Upload
from agent.problems import ProblemError
from agent.resumable.appending import check_completeness, length_when_complete
from agent.uploads.disk_space import promise_for
from agent.uploads.policy import (
    UploadPolicy,
    fixed_path,
    one_digest,
    size_mismatch,
    too_large,
)
from agent.uploads.quotas import Claim, claim_of
from portside.web.authorization import bearer
from portside.wire.claims import ReplicateClaims, UploadClaims


@dataclass(frozen=True, slots=True)
class Creation:
    """An upload that may begin. `limit` is the most bytes it may have."""

    claims: UploadClaims
    kind: Kind
    name: str | None
    path: str | None
    length: int | None
    limit: int
    details: Details

    @property
    def deadline(self) -> int:
        """Until when the upload may go on, Unix seconds."""
        return deadline_of(self.claims)

    @property
    def space(self) -> int:
        """Bytes of disk that are promised to the upload."""
        return promise_for(self.length, self.limit)

    def claim(self, begun: Sequence[Upload]) -> Claim:
        """What the upload takes of its owner's quota; a part, with those that were `begun` before.

        Parts that were begun twice come to no more than the token allows.
        """
        length = self.length
        if self.kind == "part":
            parts = sum(each.length or 0 for each in begun if each.state == "OPEN")
            length = min(self.limit, parts + (length or 0))
        return claim_of(self.claims, length, self.limit)

    def is_again(self, begun: Upload) -> bool:
        """Whether this asks for an upload that its token has begun.

        A token has one whole upload. Parts are told apart by `part` in their Upload-Metadata;
        without it (tus has no such thing) every creation is another part.
        """
        return self.kind == "whole" or (
            "part" in parse_metadata(self.details.metadata)
            and self.details.metadata == begun.details.metadata
        )

    def upload(self, staging: str, start: int, most: int) -> Upload:
        """The upload as it begins, with an id that nobody can guess; `most`: promised at most."""
        return Upload(
            upload_id=secrets.token_hex(16),
            jti=self.claims.jti,
            kind=self.kind,
            state="OPEN",
            staging=staging,
            path=self.path,
            start=start,
            length=self.length,
            offset=0,
            hash_state=None,
            deadline=self.deadline,
            details=self.details,
            # Parts that are joined have their space.
            promised=0 if self.kind == "final" else min(self.space, most),
        )


def deadline_of(claims: UploadClaims) -> int:
    """Until when an upload with this token may go on, Unix seconds."""
    return max(claims.exp, claims.session_deadline)


def creation_of(
    asked: ResumableRequest, claims: UploadClaims, use: TokenUse, policy: UploadPolicy
) -> Creation:
    """What a creation asks for, checked. Raises ProblemError, the first that applies."""
    if asked.dialect is None:
        raise ProblemError(
            "malformed-request", "send Tus-Resumable: 1.0.0 (tus) or Upload-Complete (IETF draft)"
        )
    check_completeness(asked)
    if asked.dialect == "ietf" and asked.offset:
        raise ProblemError("malformed-request", "a new upload begins at 0: append with PATCH")
    kind = _kind(asked)
    limit = policy.limit(claims)
    # First, for it is told with the limit: nothing that is mended in the lengths would help.
    if asked.length is not None and asked.length > limit:
        raise too_large(asked.length, limit)
    length = _length(asked, kind)
    check_length(claims, kind, length, limit)
    chosen = claims.name or asked.name
    if chosen is None and kind != "part":
        raise ProblemError(
            "name-refused",
            "the upload has no name that can be read: put one, in UTF-8, into the token, "
            "Upload-Metadata (filename) or "
            "Content-Disposition",
        )
    name = None if chosen is None else policy.safe_name(claims, chosen, use.stored)
    path = fixed_path(claims, name)
    details = Details(
        claims=claims,
        dialect=asked.dialect,
        name=name,
        metadata=asked.metadata,
        concat=asked.concat,
        sha256=one_digest(claims.sha256, asked.sha256),
        token=bearer(asked.authorization),
    )
    return Creation(claims, kind, name, str(path) if path else None, length, limit, details)


def creation_of_copy(
    claims: ReplicateClaims,
    kept: int,
    proof: str,
    *,
    held: bool,
    expires_at: int | None,
    scan: bool = False,
) -> Creation:
    """Another node's push as an upload: its token's claims are those of the file's own upload.

    It may be gone on with for `kept` seconds. `held`: the copy is served once it is released;
    `scan`: by this node's scanner. `proof` is what it came with, kept with the file.
    """
    now = int(time.time())
    upload = UploadClaims(
        iss=claims.iss,
        aud=claims.aud,
        sub=claims.owner,
        jti=claims.jti,
        iat=now,
        nbf=now,
        exp=now + kept,
        session_deadline=now + kept,
        file_id=claims.file_id,
        namespace=claims.namespace,
        name=claims.name,
        size=claims.size,
        sha256=claims.sha256,
        content_type=claims.content_type,
        app=claims.app,
        hold=held,
    )
    details = Details(
        claims=upload,
        dialect="replicate",
        name=claims.name,
        sha256=claims.sha256,
        token=proof or None,
        copied=Copied(
            source=claims.iss,
            path=claims.path,
            committed_at=claims.committed_at,
            expires_at=expires_at,
            scan=scan,
        ),
    )
    path = str(claims.path)
    return Creation(upload, "whole", claims.name, path, claims.size, claims.size, details)


def check_length(claims: UploadClaims, kind: Kind, length: int | None, limit: int) -> None:
    """Raise ProblemError when a length that was announced is not what the token is for."""
    if length is None:
        return
    if length > limit:
        raise too_large(length, limit)
    if kind != "part" and claims.size is not None and length != claims.size:
        raise size_mismatch(length, claims.size)


def _kind(asked: ResumableRequest) -> Kind:
    if asked.concat and asked.dialect != "tus":
        raise ProblemError("malformed-request", "Upload-Concat belongs to tus: send Tus-Resumable")
    if asked.concat == "partial":
        return "part"
    return "final" if asked.concat else "whole"


def _length(asked: ResumableRequest, kind: Kind) -> int | None:
    """The length that the request tells, in any of the ways it may."""
    if kind == "final":
        if asked.length is not None or asked.length_deferred:
            raise ProblemError("malformed-request", "a final upload's length is that of its parts")
        if asked.body_length != 0:
            raise ProblemError("malformed-request", "a final upload has no bytes but its parts'")
        return None
    if asked.dialect == "ietf":
        return length_when_complete(asked, 0)
    if (asked.length is None) != asked.length_deferred:
        raise ProblemError(
            "malformed-request", "send Upload-Length, or Upload-Defer-Length: 1, one of them"
        )
    if kind == "part" and asked.length is None:
        raise ProblemError("malformed-request", "a part needs its Upload-Length at its creation")
    if asked.body_length and asked.length is not None and asked.body_length > asked.length:
        raise too_large(asked.body_length, asked.length)
    return asked.length
