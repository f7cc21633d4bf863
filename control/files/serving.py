"""Which copy of a file a client is sent to, and by what right: `/f/<file id>/<name>`, `.../url`.

At the lasting URL, nodes that a client comes from (`avoid`) aren't sent to again: they have the
file no more, whatever is believed here. A private file takes an app's key or a download token for
its path on any node of the cluster; for the node that is sent to one of its own is made.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.node_states import is_off
from control.cluster.reach import Reach
from control.cluster.read_model import KnownNode
from control.cluster.snapshot import Snapshot
from control.db.models import Copy, File, Revocation, RevokedToken
from control.files import receipts
from control.files.service import (
    being_checked,
    file_deleted,
    must_be_alive,
    must_not_be_held,
    unknown,
    url_of,
)
from control.problems import ProblemError
from control.settings import Settings
from portside.tokens import (
    SigningKey,
    TokenRefused,
    mint_download,
    token_id,
    unverified_claims,
    verify_download,
)
from portside.web.redirects import onward, redirect_policy
from portside.wire import paths
from portside.wire.claims import DownloadClaims
from portside.wire.control import FileUrl
from portside.wire.files import surrogate_key
from portside.wire.keys import Keyset


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for which file: the nodes that were tried, a download token, an app's right.

    `may_read` are the private files that the caller's key is good for, `resumed` is the SHA-256 of
    what the caller has the beginning of, `saved` whether a browser is to save the file.
    """

    file_id: str
    name: str
    avoid: Sequence[str]
    token: str | None
    may_read: Reach
    resumed: str | None = None
    saved: bool = False


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a client is sent, and what caches may do with that."""

    url: str
    cache_control: str
    surrogate_key: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a URL is to be like: which nodes' copies come last, for how many seconds it is good.

    Without `seconds` it is good for as long as the cluster has it by default; `saved` as in Asked.
    """

    avoid: Sequence[str] = ()
    seconds: int | None = None
    saved: bool = False


ANY_URL = Wanted()


@dataclass(frozen=True, slots=True)
class Signing:
    """The issuer's key, if there is one, and the keys whose download tokens are believed."""

    key: SigningKey | None
    trusted: Callable[[], Keyset]


def fetch(
    session: Session,
    snapshot: Snapshot,
    settings: Settings,
    key: SigningKey | None,
    file_id: str,
    now: datetime,
    may_read: Reach,
    wanted: Wanted = ANY_URL,
) -> FileUrl:
    """The URL of a copy on a node that can be reached, signed where the namespace is private.

    `may_read` are the private files that the caller may read; public ones are for everyone who
    knows their id. Raises ProblemError.
    """
    file = session.get(File, file_id)
    private = file is not None and file.namespace in settings.private
    if file is None or (private and not may_read.covers(file.app_id, file.namespace)):
        raise unknown(file_id)
    must_be_alive(file, now)
    must_not_be_held(file)
    copy = _best(snapshot, copies.copies_of(session, file_id).values(), wanted.avoid)
    url = url_of(snapshot, copy, file.path)
    if not private:
        url = onward(url, (), saved=wanted.saved)
        return FileUrl(file_id=file_id, node_id=copy.node_id, url=url)
    token, ends = _signed(wanted.seconds or settings.download_seconds, key, file, copy, now)
    return FileUrl(
        file_id=file_id,
        node_id=copy.node_id,
        url=onward(url, (), token, saved=wanted.saved),
        expires_at=datetime.fromtimestamp(ends, UTC),
    )


def locate(
    session: Session,
    snapshot: Snapshot,
    settings: Settings,
    signing: Signing,
    asked: Asked,
    now: datetime,
) -> Redirect:
    """A copy that can be reached and wasn't tried. Raises ProblemError."""
    file = session.get(File, asked.file_id)
    if file is None:
        return _of_upload(session, snapshot, asked)
    private = file.namespace in settings.private
    claims = _right(session, snapshot, signing, file, asked, now) if private else None
    must_be_alive(file, now)
    must_not_be_held(file)
    untried = [
        copy
        for copy in copies.copies_of(session, file.file_id).values()
        if copy.node_id not in asked.avoid
    ]
    copy = _best(snapshot, untried, ())
    token = _token(settings, signing, file, copy, claims, asked, now) if private else None
    return Redirect(
        onward(url_of(snapshot, copy, file.path), asked.avoid, token, saved=asked.saved),
        redirect_policy(private, _max_age(settings, file, now)),
        surrogate_key(file.file_id, file.namespace),
    )


def _max_age(settings: Settings, file: File, now: datetime) -> int | None:
    """Seconds for which a redirect may be kept at most: none leads to a file that has ended."""
    longest = settings.max_age.get(file.namespace)
    if file.expires_at is None:
        return longest
    left = max(0, int((file.expires_at - now).total_seconds()))
    return left if longest is None else min(longest, left)


def _of_upload(session: Session, snapshot: Snapshot, asked: Asked) -> Redirect:
    """To the node of an upload that hasn't brought its receipt here: that may be on its way."""
    upload = receipts.session_of(session, asked.file_id)
    if upload is None:
        raise unknown(asked.file_id)
    if session.get(Revocation, upload.session_id) is not None:
        raise file_deleted()
    node = snapshot.nodes.get(upload.node_id)
    if upload.state != "open" or node is None or node.node_id in asked.avoid:
        raise unknown(asked.file_id)
    url = paths.lasting_url(node.public_base_url, asked.file_id, asked.name)
    # A moment later it is known here, and served from elsewhere too.
    return Redirect(onward(url, asked.avoid, asked.token, saved=asked.saved), "no-store")


def _right(
    session: Session, snapshot: Snapshot, signing: Signing, file: File, asked: Asked, now: datetime
) -> DownloadClaims | None:
    """What a private file is read by: a token's claims, or None for an app's key.

    Raises ProblemError without either.
    """
    if asked.token is None:
        if asked.may_read.covers(file.app_id, file.namespace):
            return None
        raise ProblemError(
            "token-missing", "this file is private: send a download token behind '?token='"
        )
    try:
        # Which node it is for is no secret, and verified in the next line with all else.
        node_id = str(unverified_claims(asked.token).get("aud"))
        resuming = asked.resumed == file.sha256
        issuers = signing.trusted().without(snapshot.nodes)
        claims = verify_download(asked.token, issuers, node_id, now, resuming=resuming)
    except TokenRefused as refused:
        raise ProblemError.from_token(refused) from None
    if session.get(RevokedToken, token_id(asked.token, claims.jti)) is not None:
        raise ProblemError("token-revoked", "this token was revoked: ask for a new one")
    if node_id not in snapshot.nodes:
        raise ProblemError("token-wrong-node", f"there is no node {node_id!r} in this cluster")
    if claims.path != file.path:
        raise ProblemError("right-missing", "this download token is for another file")
    return claims


def _token(
    settings: Settings,
    signing: Signing,
    file: File,
    copy: Copy,
    claims: DownloadClaims | None,
    asked: Asked,
    now: datetime,
) -> str:
    """A download token for this copy's node, good no longer than the one that was brought."""
    if claims is not None and claims.aud == copy.node_id and asked.token is not None:
        return asked.token
    if claims is None or asked.token is None:
        return _signed(settings.download_seconds, signing.key, file, copy, now)[0]
    # Revoked along with the one that it comes from.
    jti = token_id(asked.token, claims.jti)
    return _signed(settings.download_seconds, signing.key, file, copy, now, claims.exp, jti)[0]


def _signed(
    seconds: int,
    key: SigningKey | None,
    file: File,
    copy: Copy,
    now: datetime,
    ends: int | None = None,
    jti: str | None = None,
) -> tuple[str, int]:
    """A download token for a copy, and when it ends (Unix seconds).

    That is in `seconds`, and at `ends` at the latest. Raises ProblemError without the issuer's key.
    """
    if key is None:
        raise ProblemError(
            "issuer-key-missing", "without the issuer's key no private file's URL can be signed"
        )
    began = int(now.timestamp())
    until = began + seconds
    claims = DownloadClaims(
        iss=key.owner,
        aud=copy.node_id,
        iat=began,
        nbf=began,
        exp=until if ends is None else min(until, ends),
        path=file.path,
        jti=jti or secrets.token_urlsafe(16),
    )
    return mint_download(key, claims), claims.exp


def _best(snapshot: Snapshot, copies: Iterable[Copy], avoid: Sequence[str]) -> Copy:
    """A copy on a node that is up, best on one that nothing speaks against and that is idle.

    Raises ProblemError when there is none.
    """

    def rank(node: KnownNode) -> tuple[bool, bool, bool, int]:
        # A node whose clock is off refuses what was signed for it just now.
        doubtful = node.signs.outside_problem is not None or is_off(node.signs.clock_skew)
        return node.node_id in avoid, doubtful, node.state != "active", node.active_uploads

    up = [
        (rank(node), copy.node_id, copy)
        for copy in copies
        if copy.state == "present"
        and (node := snapshot.nodes.get(copy.node_id)) is not None
        and node.state in ("active", "readonly", "draining")
    ]
    if not up:
        raise ProblemError(
            "file-unavailable", "no node that has this file can be reached now: try again later"
        )
    released = [each for each in up if not each[2].held]
    if not released:
        raise being_checked()
    return min(released, key=lambda each: each[:2])[2]
