"""Bring a file to the copies it should have: what is missing is ordered, what is too much goes.

Each function works in the transaction it is given, on a file whose row is locked, and depends on
what is true then: called twice, by two workers or after a crash in the middle, it orders nothing
twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session, aliased

from control.db import models
from control.db.models import WorkReason
from control.replication import leases
from control.replication.cluster_view import REMOVALS, ClusterView
from control.replication.policy import CopyOnNode, Standing

FAILED = 2
"""Attempts to copy to one node after which another one is tried, if there is one."""

_UNDER_WAY = text("work.state IN ('waiting', 'leased')")


def lock_if_free(session: Session, file_id: str) -> models.File | None:
    """The file with its row locked; None when there is none or another transaction has it.

    SQLite has one writer at a time: there is nobody to lock it against.
    """
    return session.scalars(
        select(models.File)
        .where(models.File.file_id == file_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).one_or_none()


def lock_those_free(session: Session, file_ids: Sequence[str]) -> Sequence[models.File]:
    """Those of the files that no other transaction has, locked in the order of their ids."""
    return session.scalars(
        select(models.File)
        .where(models.File.file_id.in_(file_ids))
        .order_by(models.File.file_id)
        .with_for_update(skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()


def reconcile_file(session: Session, view: ClusterView, file: models.File, now: datetime) -> int:
    """Order what a file lacks or has too much of; returns the number of orders."""
    if file.state != "committed" or file.has_ended(now) or file.vouched_by is not None:
        # An ended file stays where it is until its grace is over, and one that a single node
        # vouches for until something bears that out.
        return 0
    copies, standing = view.standing(session, file)
    if _call_off_failing(session, view, file, copies, now):
        copies, standing = view.standing(session, file)
    orders = 0
    for _ in range(standing.wanted):
        orders += _order_copy(session, view, file, copies, standing, now)
    return orders + thin_out(session, view, file, standing, now)


def thin_out(
    session: Session, view: ClusterView, file: models.File, standing: Standing, now: datetime
) -> int:
    """Order away the copies that can be done without; returns how many."""
    orders = 0
    for node_id in standing.surplus:
        if view.removals.get(node_id, 0) >= REMOVALS:
            # The order of `surplus` matters: what comes behind may count on this one's going.
            break
        reason: WorkReason = "drain" if view.keepers[node_id].state == "draining" else "repair"
        leases.order_deletion(session, file, node_id, reason, now, tombstone=False)
        view.removals[node_id] = view.removals.get(node_id, 0) + 1
        orders += 1
    return orders


def path_taken(session: Session, file: models.File) -> dict[str, str]:
    """The nodes that have another file on the same path, and which."""
    other = aliased(models.File)
    rows = session.execute(
        select(models.Copy.node_id, other.file_id)
        .join(other, other.file_id == models.Copy.file_id)
        .where(
            other.path == file.path,
            other.file_id != file.file_id,
            models.Copy.state.not_in(("lost", "gone")),
        )
    )
    return {row.node_id: row.file_id for row in rows}


def _call_off_failing(
    session: Session, view: ClusterView, file: models.File, copies: list[CopyOnNode], now: datetime
) -> bool:
    """Give up copying to nodes that have failed to take it, if another node can."""
    failing = session.scalars(
        select(models.Work.place).where(
            models.Work.file_id == file.file_id,
            models.Work.kind == "replicate",
            models.Work.reason.in_(("repair", "drain")),
            text("work.state = 'waiting'"),
            models.Work.attempts >= FAILED,
        )
    ).all()
    if not failing or view.place(file.size, unfit(session, view, file, copies)) is None:
        return False
    for place in failing:
        leases.call_off(session, file, now, place=place)
    return True


def unfit(
    session: Session, view: ClusterView, file: models.File, copies: list[CopyOnNode]
) -> set[str]:
    """The nodes that can take no copy of a file now."""
    return {
        *(each.node_id for each in copies if each.state not in ("lost", "gone")),
        *view.loads.full_targets(),
        *path_taken(session, file),
    }


def _failed_lately(session: Session, file: models.File, now: datetime) -> set[str]:
    """The nodes that a copy of this file was given up to."""
    since = now - timedelta(seconds=leases.LONGEST_PAUSE)
    return set(
        session.scalars(
            select(models.Work.place).where(
                models.Work.file_id == file.file_id,
                models.Work.kind == "replicate",
                models.Work.state == "failed",
                models.Work.ended_at > since,
            )
        )
    )


def _order_copy(
    session: Session,
    view: ClusterView,
    file: models.File,
    copies: list[CopyOnNode],
    standing: Standing,
    now: datetime,
) -> int:
    source = view.loads.source(standing.good)
    if source is None:
        return 0
    out = unfit(session, view, file, copies)
    # A source's word that a target fails has other files go on there, and this one elsewhere.
    target = view.place(file.size, out | _failed_lately(session, file, now)) or view.place(
        file.size, out
    )
    if target is None:
        return 0
    draining = any(
        view.keepers[each.node_id].state == "draining" for each in copies if each.state == "present"
    )
    reason: WorkReason = "drain" if draining else "repair"
    if not leases.order_copy(session, file, source, target.node_id, target.pool_id, reason, now):
        return 0
    view.took(source, target, file.size)
    copies.append(CopyOnNode(target.node_id, "copying"))
    return 1


def pushes_from(session: Session, node_id: str, limit: int) -> Sequence[str]:
    """Files that a node is to copy elsewhere."""
    return session.scalars(
        select(models.Work.file_id)
        .where(models.Work.node_id == node_id, models.Work.kind == "replicate", _UNDER_WAY)
        .order_by(models.Work.file_id)
        .limit(limit)
    ).all()
