"""Tokens that operators revoke one by one: told to every node with its next heartbeat.

What was stored with a token before stays, and what was told is on disk: an upload that its node had
acknowledged comes in by its receipt all the same. That is what sets this apart from an upload that
is called off (`control.files.receipts.call_off`), whose file is deleted if it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.deferred_log import log_on_commit
from control.db.models import RevokedToken, UploadSession
from control.files import receipts
from control.problems import ProblemError
from portside import tokens
from portside.tokens import TokenRefused
from portside.wire.bounds import LATEST
from portside.wire.keys import LONGEST_UNKNOWN, MOST_REVOCATIONS, Keyset, RevocationRequest


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a request asks to have revoked: the token's id, and what is known beside it."""

    token_id: str
    kind: str | None
    node_id: str | None
    expires_at: datetime | None


def asked_for(wish: RevocationRequest, trusted: Keyset, now: datetime) -> Revoked:
    """Which token is meant. Raises ProblemError."""
    if (wish.token is None) == (wish.token_id is None):
        raise ProblemError("malformed-request", "give 'token' or 'token_id', one of the two")
    if wish.token is None:
        assert wish.token_id is not None  # noqa: S101 (held by the line above)
        return Revoked(wish.token_id, None, None, wish.expires_at)
    if wish.expires_at is not None:
        raise ProblemError("malformed-request", "a 'token' says itself when it ends")
    try:
        found = tokens.revocable(wish.token, trusted, now)
    except TokenRefused as refused:
        # Not the caller's credentials, so no 401.
        raise ProblemError(
            "malformed-request", f"this token needs no revoking, nobody takes it: {refused}"
        ) from None
    ends = min(datetime.fromtimestamp(max(found.ends, 0), UTC), LATEST)
    return Revoked(found.token_id, found.kind, found.node_id, ends)


def revoke(session: Session, revoked: Revoked, reason: str, by: str, now: datetime) -> RevokedToken:
    """Revoke a token for as long as it would count; a session that is open ends with it.

    The same again changes nothing. Raises ProblemError.
    """
    if (known := session.get(RevokedToken, revoked.token_id)) is not None:
        return known
    if _standing(session, now) >= MOST_REVOCATIONS:
        raise ProblemError(
            "revocations-full",
            f"{MOST_REVOCATIONS} tokens are revoked already: end them all with a new issuer's key",
        )
    upload = session.get(UploadSession, revoked.token_id)
    if upload is not None:
        receipts.expire(session, upload.session_id)
        revoked = Revoked(
            upload.session_id,
            tokens.UPLOAD_TYPE,
            upload.node_id,
            max(upload.deadline, upload.expires_at),
        )
    copies.insert_if_new(
        session,
        RevokedToken,
        {
            "token_id": revoked.token_id,
            "kind": revoked.kind,
            "node_id": revoked.node_id,
            "reason": reason,
            "revoked_by": by,
            "revoked_at": now,
            "expires_at": revoked.expires_at or now + timedelta(seconds=LONGEST_UNKNOWN),
        },
    )
    log_on_commit(session, "token revoked", token_id=revoked.token_id, kind=revoked.kind, by=by)
    return session.get_one(RevokedToken, revoked.token_id)


def standing(session: Session, now: datetime) -> Sequence[RevokedToken]:
    """Every token that is revoked and would count otherwise, the newest first."""
    return session.scalars(
        select(RevokedToken)
        .where(RevokedToken.expires_at > now - timedelta(seconds=tokens.LEEWAY))
        .order_by(RevokedToken.revoked_at.desc(), RevokedToken.token_id)
        .limit(MOST_REVOCATIONS)
    ).all()


def _standing(session: Session, now: datetime) -> int:
    return session.scalars(
        select(func.count())
        .select_from(RevokedToken)
        .where(RevokedToken.expires_at > now - timedelta(seconds=tokens.LEEWAY))
    ).one()
