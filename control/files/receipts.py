"""Receipts: how the control plane learns that a file is on a node. Nothing else makes a copy count.

A receipt speaks for its signer alone. It may come from the node, from the uploader or with a lease,
first or tenth: the first makes the file known, the others change nothing. A session is closed by
the first receipt with its id, and its space given back once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.catalogue import copies, holds, inventory, usage
from control.catalogue.inventory import UNKNOWN_OWNER
from control.cluster.snapshot import Snapshot
from control.db.deferred_log import log_on_commit
from control.db.models import File, Pool, Revocation, SessionState, UploadSession
from control.files import forgotten, lifetimes, vouching
from control.moves import step
from control.problems import ProblemError
from control.replication import leases
from control.settings import Settings
from portside.names import name_of_dated
from portside.tokens import TokenRefused, unverified_header, verify_receipt
from portside.wire.claims import ReceiptClaims
from portside.wire.inventory import HeldFile

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Proof:
    """A receipt whose signature is right, and the node that signed it."""

    node_id: str
    claims: ReceiptClaims
    held: HeldFile | None = None
    """What the node's attributes say beyond that, where it was asked for them."""
    is_proved: bool = False
    """Whether an issuer's word bears it out that is kept with the file."""


def verify(snapshot: Snapshot, token: str, now: datetime) -> Proof:
    """Whose receipt this is and what it says. Raises ProblemError."""
    try:
        kid = str(unverified_header(token).get("kid"))
        signer = snapshot.signers.get(kid)
        if signer is None:
            raise TokenRefused("token-unknown-key", "no node of this cluster has this 'kid'")
        node_id, keyset = signer
        node = snapshot.nodes[node_id]
        if node.state == "retired" or not node.signs.in_roster:
            raise TokenRefused("token-unknown-key", f"{node_id} is no node of the cluster any more")
        claims = verify_receipt(token, keyset, now)
    except TokenRefused as refused:
        raise ProblemError.from_token(refused) from None
    if not is_below_a_namespace(claims.path):
        raise ProblemError("token-claims", "the receipt's path is none below a namespace")
    return Proof(node_id, claims)


def is_below_a_namespace(path: PurePosixPath) -> bool:
    """Whether a file of a node's can be at this path."""
    return len(path.parts) >= 2 and not path.is_absolute() and ".." not in path.parts


def register(
    session: Session, settings: Settings, proof: Proof, now: datetime, *, ordered: bool = False
) -> File:
    """Take a receipt into the catalogue; returns the file. In a transaction of the caller's.

    `ordered` receipts answer a lease of now, or are what the node has just told of its inventory.
    Any other one may be older than the loss or deletion of its copy, whatever the clocks say, and
    doesn't bring it back: what is there all the same the node's inventory shows.

    Raises ProblemError (`receipt-conflict`) when another content is known under the file's id, and
    when nobody expects the file on this node.
    """
    claims, node_id = proof.claims, proof.node_id
    upload = session.get(UploadSession, claims.jti)
    if upload is not None and upload.file_id != claims.file_id:
        upload = None
    if upload is None and not ordered:
        forgotten.must_be_remembered(session, claims, now)
    _must_be_expected(session, settings, proof, ordered=ordered)
    file = _file(session, settings, proof, upload, now)
    lifetimes.told(session, file, upload, claims)
    copy = copies.copies_of(session, file.file_id).get(node_id)
    if copy is not None and copy.state in ("lost", "gone") and not ordered:
        log_on_commit(session, "old receipt", file_id=file.file_id, node=node_id, copy=copy.state)
        return file
    pool_id = upload.pool_id if upload is not None and upload.node_id == node_id else node_id
    news = copies.arrived(session, file, node_id, pool_id, now)
    if news:
        log_on_commit(
            session, "copy registered", file_id=file.file_id, node=node_id, present=file.present
        )
        step.arrived(session, settings, file, node_id, now)
        if file.state == "lost":
            file.state = "committed"
    if file.state in ("deleting", "deleted"):
        # It was on its way while the file was deleted everywhere.
        file.state = "deleting"
        leases.order_deletion(session, file, node_id, "delete", now, tombstone=True)
    if upload is not None:
        _close(session, upload.session_id)
    if news and file.state not in ("deleting", "deleted"):
        note = None if proof.held is None else proof.held.hold
        # Whether a session's file is to be held says the node that it was uploaded to.
        may_hold = upload is None or upload.node_id == node_id
        scanned = file.namespace in settings.scanned and not (upload and upload.hold)
        holds.arrived(
            *(session, file, node_id),
            held=claims.held,
            note=note,
            may_hold=may_hold,
            scanned=scanned,
        )
    return file


def _must_be_expected(session: Session, settings: Settings, proof: Proof, *, ordered: bool) -> None:
    """Raise ProblemError for a file that this node was never to have: its key would do otherwise
    to take a name, or a place among the copies that count.

    A session says which nodes it is for, an order leaves a row. What is left has no session here:
    another issuer's upload, or a catalogue older than its files. Such a copy fills a gap at most.
    """
    claims, node_id = proof.claims, proof.node_id
    if node_id in copies.copies_of(session, claims.file_id):
        return
    file = session.get(File, claims.file_id)
    if file is not None and file.state in ("deleting", "deleted"):
        # Such a copy counts for nothing, and is ordered away from where it is.
        return
    upload = session_of(session, claims.file_id)
    other = session.get(UploadSession, claims.jti)
    if upload is not None or other is not None:
        if upload is None or upload is not other:
            raise _unexpected("the session of its 'jti' is another file's")
        _must_fit(upload, claims)
        if node_id in (upload.node_id, *upload.replicas):
            return
        if not ordered:
            raise _unexpected(f"its session is not for {node_id}, and nobody ordered a copy there")
    if file is None and upload is not None:
        raise _unexpected(f"its session is not for {node_id}")
    if file is not None and file.vouched_by is not None:
        told = proof.held or claims
        if file.present < settings.factor or (
            proof.is_proved and not vouching.is_alike(file, told)
        ):
            # So far it is one node's word.
            return
    if file is not None and file.state == "committed" and file.present >= file.factor:
        raise _unexpected("as many copies as are wanted are known")


def _must_fit(upload: UploadSession, claims: ReceiptClaims) -> None:
    """Raise ProblemError when a receipt says what its session's token didn't allow."""
    limit = upload.max_size if upload.size is None else upload.size
    if (
        claims.path.parts[0] != upload.namespace
        or upload.path not in (None, str(claims.path))
        or upload.sha256 not in (None, claims.sha256)
        or upload.size not in (None, claims.size)
        or (limit is not None and claims.size > limit)
    ):
        raise _unexpected("it is not the file that its session is for")


def _unexpected(why: str) -> ProblemError:
    return ProblemError("receipt-conflict", f"the receipt is not taken: {why}")


def _file(
    session: Session,
    settings: Settings,
    proof: Proof,
    upload: UploadSession | None,
    now: datetime,
) -> File:
    """The file's row, locked; made if this is its first receipt."""
    claims, held = proof.claims, proof.held
    is_sure = upload is not None or (proof.is_proved and held is not None)
    new = copies.insert_if_new(
        session,
        File,
        {
            "file_id": claims.file_id,
            "session_id": claims.jti,
            "app_id": upload.app_id if upload else held.app if held else None,
            "namespace": claims.path.parts[0],
            "owner": upload.owner if upload else held.owner if held else UNKNOWN_OWNER,
            "name": held.name if held else _name(claims, upload),
            "path": str(claims.path),
            "size": claims.size,
            "sha256": claims.sha256,
            "content_type": held.content_type if held else upload.content_type if upload else None,
            "committed_at": claims.committed_at,
            "state": "committed",
            "factor": settings.factor if is_sure else 1,
            "vouched_by": None if is_sure else proof.node_id,
            "present": 0,
            # A node of an older release doesn't know of it, and is told.
            "held": claims.held or (upload is not None and upload.hold),
            "hold": held.hold.model_dump_json() if held and held.hold else None,
            "changed_at": now,
            "expires_at": lifetimes.first_moment(upload, claims, now),
        },
    )
    file = copies.lock_file(session, claims.file_id)
    assert file is not None  # noqa: S101 (inserted, or there before)
    if upload is not None and _is_unheard(session, file, upload, proof.node_id):
        _correct(session, file, claims, now)
        is_held = claims.held or upload.hold
        if not file.hold_version and file.held != is_held:
            holds.change(session, file, None, held=is_held)
    if not new:
        vouching.heard(
            *(session, settings, file, held or claims, proof.node_id, now),
            is_proved=proof.is_proved,
        )
    if (file.sha256, file.size, file.path) != (claims.sha256, claims.size, str(claims.path)):
        _log.error("receipt conflicts", file_id=file.file_id, node=claims.iss)
        raise ProblemError(
            "receipt-conflict", "another content or path is known under this file's id"
        )
    if held is not None and not inventory.is_described(file):
        # A receipt was first.
        copies.named(
            session,
            file,
            owner=held.owner,
            app_id=held.app,
            name=held.name,
            content_type=held.content_type,
        )
    if not new or _is_called_off(session, file, upload):
        return file
    if usage.counts(file):
        usage.changed(session, file.app_id, file.owner, usage.of_file(file.size))
    if upload is not None:
        # The first receipt to come may be any copy's: that of the upload itself is on its way then.
        copies.expect(session, file, upload.node_id, upload.pool_id, now)
        for node_id in upload.replicas:
            copies.expect(session, file, node_id, node_id, now)
    return file


def _is_unheard(session: Session, file: File, upload: UploadSession, node_id: str) -> bool:
    """Whether this is the first word of the node that took the upload in, after a copy's."""
    if node_id != upload.node_id or file.state != "committed":
        return False
    copy = copies.copies_of(session, file.file_id).get(node_id)
    return copy is not None and copy.state == "copying"


def _correct(session: Session, file: File, claims: ReceiptClaims, now: datetime) -> None:
    """What was uploaded is what the node says that took it in: a copy that differs is none.

    Else the nodes of the copies could bring something else under the session's id, and be first.
    """
    if (file.sha256, file.size, file.path) == (claims.sha256, claims.size, str(claims.path)):
        return
    _log.error("copies differ from their upload", file_id=file.file_id, node=claims.iss)
    for node_id, copy in copies.copies_of(session, file.file_id).items():
        # Before the size changes: pools have counted the other one.
        if copy.state == "present":
            copies.lost(session, file, node_id, now)
        elif copy.state == "copying":
            copies.left(session, file, node_id, now)
    if usage.counts(file):
        usage.changed(session, file.app_id, file.owner, -usage.of_file(file.size))
        usage.changed(session, file.app_id, file.owner, usage.of_file(claims.size))
    file.sha256, file.size, file.path = claims.sha256, claims.size, str(claims.path)
    file.committed_at = claims.committed_at
    session.flush()
    copies.expect(session, file, claims.iss, claims.iss, now)


def _name(claims: ReceiptClaims, upload: UploadSession | None) -> str:
    """The name that the node has stored the file under, as far as its receipt tells."""
    if upload is None or upload.layout == "named":
        return claims.path.name
    return upload.name or name_of_dated(
        claims.path, upload.owner, claims.file_id, claims.committed_at
    )


def _is_called_off(session: Session, file: File, upload: UploadSession | None) -> bool:
    """Whether a file was deleted before it was there: then it is to go from wherever it comes."""
    if upload is not None:
        # Who calls an upload off holds this row too: that is done by now, or will find the file.
        session.refresh(upload, with_for_update=True)
    if session.get(Revocation, file.session_id) is None:
        return False
    file.state = "deleting"
    session.flush()
    return True


def _close(session: Session, session_id: str) -> None:
    """The session has its file: what it still holds is given back, once."""
    if not _end(session, session_id, "committed"):
        # The deadline was there first: its space is given back already.
        session.execute(
            update(UploadSession)
            .where(UploadSession.session_id == session_id, UploadSession.state == "expired")
            .values(state="committed")
            .execution_options(synchronize_session=False)
        )


def expire(session: Session, session_id: str) -> None:
    """End a session that is open, without a file: what it holds is given back, once."""
    _end(session, session_id, "expired")


def _end(session: Session, session_id: str, state: SessionState) -> bool:
    ended = session.scalars(
        update(UploadSession)
        .where(UploadSession.session_id == session_id, UploadSession.state == "open")
        .values(state=state)
        .returning(UploadSession)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one_or_none()
    if ended is not None:
        give_back(session, [ended])
    return ended is not None


def give_back(session: Session, ended: Iterable[UploadSession]) -> None:
    """These sessions are open no more: their pools, owners and apps have their promises back."""
    pools: dict[str, tuple[int, int]] = {}
    for each in ended:
        reserved, count = pools.get(each.pool_id, (0, 0))
        pools[each.pool_id] = reserved + each.reserved, count + 1
        promised = usage.of_promise(usage.most_of(each.size, each.max_size, each.reserved))
        usage.changed(session, each.app_id, each.owner, -promised)
    for pool_id, (reserved, count) in sorted(pools.items()):
        session.execute(
            update(Pool)
            .where(Pool.pool_id == pool_id)
            .values(reserved=Pool.reserved - reserved, open_sessions=Pool.open_sessions - count)
            .execution_options(synchronize_session=False)
        )


def session_of(session: Session, file_id: str) -> UploadSession | None:
    """The session that a file comes from, or would."""
    return session.scalars(
        select(UploadSession).where(UploadSession.file_id == file_id)
    ).one_or_none()


def awaited(session: Session, file_id: str) -> UploadSession | None:
    """The session of a file of which no receipt was seen, locked: none is taken in meanwhile."""
    upload = session.scalars(
        select(UploadSession).where(UploadSession.file_id == file_id).with_for_update()
    ).one_or_none()
    # One may have come while the row was somebody else's.
    seen = session.scalars(select(File.file_id).where(File.file_id == file_id)).one_or_none()
    return upload if seen is None else None


def call_off(session: Session, upload: UploadSession, now: datetime) -> None:
    """End an upload, `awaited` still: its token is revoked, and its file deleted if it comes."""
    expire(session, upload.session_id)
    copies.insert_if_new(
        session,
        Revocation,
        {
            "token_id": upload.session_id,
            "revoked_at": now,
            "expires_at": max(upload.deadline, upload.expires_at),
        },
    )
