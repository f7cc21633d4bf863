"""Work for nodes: ordered here, leased with a heartbeat's answer, settled with a later heartbeat.

    order -> waiting -> leased -> done | missing
                ^          |
                +- failed, or not settled in time; after ATTEMPTS of them: failed

`replicate` is for the node that has the file, `delete` for the one whose copy goes. Each answer
lists every lease that a node has, so that one which was lost on its way comes again; the same
lease_id is the same work. While a piece of work is waiting or leased there is no second one like
it (a unique index), whoever orders it and on however many control processes.

Deletions are tried for as long as the node is there: a file that was deleted must not stay.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import PurePosixPath

from sqlalchemy import bindparam, func, or_, select, text, update
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.node_states import avoid_until
from control.db.deferred_log import log_on_commit
from control.db.models import File, Moment, Node, Work, WorkReason, WorkState
from portside.backoff import Backoff
from portside.quantities import MIB
from portside.wire.claims import ReceiptClaims
from portside.wire.heartbeat import Lease, WorkDone

AT_ONCE = 64
"""Leases that one node has at the same time: as many as the smallest files that it may send."""

ATTEMPTS = 8
"""After how many a copy is given up; whoever ordered it may order another one."""

LEAST_LEASE = 600.0
"""Seconds of a lease, and so many more as the file takes at SLOWEST bytes per second."""

SLOWEST = 2 * MIB

LONGEST_PAUSE = 1800.0
PAUSES = Backoff(first=10.0, longest=LONGEST_PAUSE, spread=(0.75, 1.25))
"""Seconds before work that failed is given out again."""

_WAITING = text("work.state = 'waiting'")
_LEASED = text("work.state = 'leased'")
_UNDER_WAY = text("work.state IN ('waiting', 'leased')")

_ITS_WORK = select(Work.lease_id).where(Work.node_id == bindparam("node"))
_ANY = select(
    or_(
        _ITS_WORK.where(_WAITING, Work.not_before <= bindparam("now", type_=Moment())).exists(),
        _ITS_WORK.where(_LEASED).exists(),
    )
)
"""Whether a node has work, or may have it now."""


def order_copy(
    session: Session,
    file: File,
    source: str,
    target: str,
    pool_id: str,
    reason: WorkReason,
    now: datetime,
    *,
    move_id: str | None = None,
    bytes_per_second: int | None = None,
    not_before: datetime | None = None,
) -> str | None:
    """Have `source` copy a file to `target`, into its pool `pool_id`. The file's row is locked.

    Returns the lease's id; None when the target has the file, or work like this is under way, and
    for what only one node says: its order would be an issuer's word for it.
    """
    if file.vouched_by is not None:
        return None
    if not copies.expect(session, file, target, pool_id, now):
        return None
    return _order(
        session,
        {
            "kind": "replicate",
            "node_id": source,
            "target": target,
            "place": target,
            "reason": reason,
            "move_id": move_id,
            "bytes_per_second": bytes_per_second,
            "not_before": not_before or now,
        },
        file,
        now,
    )


def order_deletion(
    session: Session,
    file: File,
    node_id: str,
    reason: WorkReason,
    now: datetime,
    *,
    tombstone: bool,
    move_id: str | None = None,
) -> str | None:
    """Have a node delete its copy. The file's row is locked.

    With `tombstone` the file is gone for good, without it this copy alone. Returns the lease's id;
    None when there is nothing to delete. Copying to this node is called off.
    """
    if not copies.leaving(session, file, node_id, now):
        return None
    call_off(session, file, now, place=node_id)
    return _order(
        session,
        {
            "kind": "delete",
            "node_id": node_id,
            "place": node_id,
            "reason": reason,
            "move_id": move_id,
            "tombstone": tombstone,
            "not_before": now,
        },
        file,
        now,
    )


def _order(session: Session, values: dict[str, object], file: File, now: datetime) -> str | None:
    lease_id = secrets.token_hex(16)
    new = copies.insert_if_new(
        session,
        Work,
        {
            "tombstone": True,
            **values,
            "lease_id": lease_id,
            "file_id": file.file_id,
            "size": file.size,
            "state": "waiting",
            "attempts": 0,
            "detail": "",
            "created_at": now,
        },
    )
    return lease_id if new else None


def call_off(
    session: Session,
    file: File,
    now: datetime,
    *,
    place: str | None = None,
    source: str | None = None,
) -> int:
    """End copying of a file: to one place, from one source, or all of it; returns how much.

    The file's row is locked. A node that has such a lease may still finish it: then the receipt
    shows a copy, and it counts as what it is.
    """
    query = select(Work).where(Work.file_id == file.file_id, Work.kind == "replicate", _UNDER_WAY)
    if place is not None:
        query = query.where(Work.place == place)
    if source is not None:
        query = query.where(Work.node_id == source)
    works = session.scalars(query.with_for_update()).all()
    for work in works:
        end(session, work, "failed", "called off", now)
        copy = copies.copies_of(session, file.file_id).get(work.place)
        if copy is not None and copy.state == "copying":
            copies.left(session, file, work.place, now)
    return len(works)


def grant(session: Session, node_id: str, now: datetime) -> list[Lease]:
    """The leases of a node from now on: those it has, and as many new ones as it may have.

    The node's row is locked, so that two of its heartbeats at a time can't be given the same twice.
    """
    # Asked with every heartbeat, and mostly there is none.
    if not session.connection().execute(_ANY, {"node": node_id, "now": now}).scalar_one():
        return []
    give_back_expired(session, now, node_id=node_id)
    held = list(
        session.scalars(
            select(Work).where(Work.node_id == node_id, _LEASED).order_by(Work.leased_until)
        )
    )
    if len(held) < AT_ONCE:
        new = session.scalars(
            select(Work)
            .where(Work.node_id == node_id, _WAITING, Work.not_before <= now)
            .order_by(Work.not_before)
            .limit(AT_ONCE - len(held))
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).all()
        for work in new:
            work.state = "leased"
            work.attempts += 1
            work.leased_until = now + _length(work)
            log_on_commit(
                session,
                "lease granted",
                attempt=work.attempts,
                node=node_id,
                lease=work.lease_id,
                kind=work.kind,
                file_id=work.file_id,
                target=work.target,
                until=work.leased_until.isoformat(),
            )
        held += new
        session.flush()
    return _leases(session, held)


def _length(work: Work) -> timedelta:
    return timedelta(seconds=LEAST_LEASE + work.size / (work.bytes_per_second or SLOWEST))


def _leases(session: Session, held: Sequence[Work]) -> list[Lease]:
    files = {
        file.file_id: file
        for file in session.scalars(
            select(File).where(File.file_id.in_({work.file_id for work in held}))
        )
    }
    leases = []
    for work in held:
        file = files[work.file_id]
        assert work.leased_until is not None  # noqa: S101 (it is leased)
        leases.append(
            Lease(
                lease_id=work.lease_id,
                kind=work.kind,
                file_id=work.file_id,
                path=PurePosixPath(file.path),
                size=file.size,
                sha256=file.sha256,
                target=work.target,
                until=work.leased_until,
                bytes_per_second=work.bytes_per_second,
                tombstone=work.tombstone,
            )
        )
    return leases


def fits(session: Session, node_id: str, lease_id: str, signer: str, claims: ReceiptClaims) -> bool:
    """Whether a receipt is the one that this node's lease asks for: of its target, for its file."""
    work = session.get(Work, lease_id)
    return (
        work is not None
        and work.node_id == node_id
        and work.kind == "replicate"
        and (work.target, work.file_id) == (signer, claims.file_id)
    )


def settle(session: Session, node_id: str, done: WorkDone, arrived: bool, now: datetime) -> None:
    """What became of a lease, as the node that had it says. Safe to hear twice, or too late.

    `arrived` says that the target's receipt was taken (`control.files.receipts`): without it a copy
    doesn't count, whatever the node says.
    """
    known = session.scalars(
        select(Work.file_id).where(Work.lease_id == done.lease_id, Work.node_id == node_id)
    ).one_or_none()
    file = None if known is None else copies.lock_file(session, known)
    work = session.scalars(
        select(Work)
        .where(Work.lease_id == done.lease_id, Work.node_id == node_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if file is None or work is None or work.state not in ("leased", "waiting"):
        log_on_commit(
            session, "stale lease settled", node=node_id, lease=done.lease_id, outcome=done.outcome
        )
        return
    if work.kind == "delete" and done.outcome in ("done", "missing"):
        end(session, work, "done", "", now)
        copies.left(session, file, node_id, now)
        finish_deletion(session, file, now)
    elif work.kind == "replicate" and done.outcome == "missing":
        # The source hasn't got it: its copy is lost, and the target's never comes from here.
        end(session, work, "missing", done.detail, now)
        copies.left(session, file, work.place, now)
        copies.lost(session, file, node_id, now)
    elif work.kind == "replicate" and done.outcome == "done" and arrived:
        end(session, work, "done", "", now)
        _succeeded(session, work.place)
    else:
        detail = done.detail or "no receipt of the target came with it"
        _failed(session, work, file, detail, now)
    log_on_commit(
        session,
        "lease settled",
        node=node_id,
        lease=work.lease_id,
        kind=work.kind,
        file_id=work.file_id,
        target=work.target,
        outcome=work.state,
        detail=work.detail,
    )


def end(session: Session, work: Work, state: WorkState, detail: str, now: datetime) -> None:
    """This piece of work is over."""
    work.state, work.detail, work.ended_at, work.leased_until = state, detail, now, None
    session.flush()


def finish_deletion(session: Session, file: File, now: datetime) -> None:
    """A file of which no copy is left any more is deleted."""
    if file.state == "deleting" and not any(
        copy.state in ("present", "copying", "deleting")
        for copy in copies.copies_of(session, file.file_id).values()
    ):
        file.state, file.changed_at = "deleted", now
        session.flush()


def _failed(session: Session, work: Work, file: File, detail: str, now: datetime) -> None:
    """It comes again after a pause; a copy that fails for good is expected no more."""
    work.detail = detail[:500]
    session.flush()
    if work.kind == "replicate":
        _blame(session, work.place, now)
        if work.attempts >= ATTEMPTS:
            end(session, work, "failed", work.detail, now)
            copies.left(session, file, work.place, now)
            return
    work.state = "waiting"
    work.leased_until = None
    work.not_before = now + timedelta(seconds=PAUSES.pause(work.attempts + 1))
    session.flush()


def _blame(session: Session, node_id: str, now: datetime) -> None:
    """The target failed, or the way to it: nothing new is placed there for a while.

    A source may lie, and would have every other node left out: where there are several, two have
    to say so.
    """
    others = session.scalar(
        select(func.count()).where(
            Node.node_id != node_id, Node.in_roster, Node.wanted != "retired"
        )
    )
    blaming = session.scalars(
        select(Work.node_id)
        .where(Work.kind == "replicate", Work.place == node_id, Work.detail != "", _UNDER_WAY)
        .distinct()
        .limit(2)
    ).all()
    if len(blaming) < min(2, others or 0):
        return
    node = session.get(Node, node_id, with_for_update=True, populate_existing=True)
    if node is not None:
        node.failures += 1
        node.avoid_until = avoid_until(node.failures, now)
        session.flush()


def _succeeded(session: Session, node_id: str) -> None:
    session.execute(
        update(Node)
        .where(Node.node_id == node_id, Node.failures > 0)
        .values(failures=0, avoid_until=None)
        .execution_options(synchronize_session=False)
    )


def give_back_expired(
    session: Session, now: datetime, *, node_id: str | None = None, limit: int = 1000
) -> int:
    """Leases that were not settled in time wait again; returns how many.

    Without `node_id` those of all nodes, as a worker's round does for nodes that are silent.
    """
    late = select(Work).where(_LEASED, Work.leased_until < now)
    if node_id is not None:
        late = late.where(Work.node_id == node_id)
    works = session.scalars(late.limit(limit).with_for_update(skip_locked=True)).all()
    for work in works:
        if work.kind == "replicate" and work.attempts >= ATTEMPTS:
            # Its copy, `copying` still, is given up by `control.worker.expiry`.
            end(session, work, "failed", "not settled in time", now)
        else:
            work.state, work.leased_until, work.not_before = "waiting", None, now
            work.detail = "not settled in time"
    session.flush()
    return len(works)
