"""Draining: every file of a node is brought to enough others, then its copies there go.

A drain has no row of its own: it is the node's state. It goes over the node's copies again and
again, by id with the cursor in the node's row, until none is left; uploads that end meanwhile are
met on the next time around. `undrain` is another state, and what is ordered by then ends by itself:
copies that are too many are removed.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control.cluster.snapshot import Snapshots
from control.db import models
from control.db.database import Database
from control.problems import ProblemError
from control.replication import cluster_view, reconcile
from control.replication.time_budget import SECONDS, TimeBudget
from control.settings import Settings
from portside.quantities import format_size
from portside.wire.control import Holding
from portside.wire.heartbeat import Heartbeat

RECONCILED = 20
"""Files of one transaction, as in `control.replication.repair`."""


class DrainRounds:
    """One worker's rounds over the nodes that drain."""

    def __init__(self, database: Database, settings: Settings, snapshots: Snapshots) -> None:
        self._database = database
        self._settings = settings
        self._snapshots = snapshots

    def round(self, now: datetime) -> None:
        """Go on with every drain. Raises DatabaseUnavailable."""
        draining = self._database.read(
            lambda session: session.scalars(
                select(models.Node.node_id).where(models.Node.wanted == "draining")
            ).all()
        )
        for node_id in draining:
            budget = TimeBudget(SECONDS / len(draining))
            while not self._go_on(node_id, now) and not budget.is_over:
                pass

    def _go_on(self, node_id: str, now: datetime) -> bool:
        return self._database.write(lambda session: self._batch(session, node_id, now))

    def _batch(self, session: Session, node_id: str, now: datetime) -> bool:
        """Look at some more of its files. Returns whether that was the last of them for now."""
        node = session.scalars(
            select(models.Node)
            .where(models.Node.node_id == node_id, models.Node.wanted == "draining")
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if node is None:
            return True
        rows = session.scalars(
            select(models.Copy.file_id)
            .where(
                models.Copy.node_id == node_id,
                models.Copy.state == "present",
                models.Copy.file_id > (node.drain_cursor or ""),
            )
            .order_by(models.Copy.file_id)
            .limit(RECONCILED)
        ).all()
        node.drain_cursor = rows[-1] if len(rows) == RECONCILED else None
        view = cluster_view.load(session, self._snapshots, self._settings, now)
        for file_id in rows:
            file = reconcile.lock_if_free(session, file_id)
            if file is not None:
                reconcile.reconcile_file(session, view, file, now)
        return node.drain_cursor is None


def holding(session: Session, node_id: str) -> Holding:
    """What a node keeps."""
    files, size = session.execute(
        select(func.count(), func.coalesce(func.sum(models.File.size), 0))
        .select_from(models.Copy)
        .join(models.File, models.File.file_id == models.Copy.file_id)
        .where(models.Copy.node_id == node_id, models.Copy.state.in_(("present", "deleting")))
    ).one()
    waiting = session.scalar(
        select(func.count())
        .select_from(models.Work)
        .where(
            models.Work.node_id == node_id,
            models.Work.kind == "replicate",
            models.Work.state.in_(("waiting", "leased")),
        )
    )
    open_sessions = session.scalar(
        select(func.coalesce(func.sum(models.Pool.open_sessions), 0)).where(
            models.Pool.node_id == node_id
        )
    )
    return Holding(
        files=files, bytes=int(size), waiting=waiting or 0, open_sessions=int(open_sessions or 0)
    )


def must_be_drainable(
    session: Session, snapshots: Snapshots, settings: Settings, node_id: str
) -> None:
    """Raise ProblemError `drain-impossible` when the other nodes can't take what it keeps.

    Other drains that are under way count: what they have left needs the same space.
    """
    snapshot = snapshots.take(session)
    going = sorted(
        {n for n, each in snapshot.nodes.items() if each.state == "draining"} | {node_id}
    )
    staying = [
        each for n, each in snapshot.nodes.items() if n not in going and each.state == "active"
    ]
    held = [holding(session, each) for each in going]
    if not any(each.files or each.open_sessions for each in held):
        return
    if len(staying) < settings.factor:
        raise ProblemError(
            "drain-impossible",
            f"every file needs {settings.factor} other nodes that are active and heard of, "
            f"there are {len(staying)}: add a node, or undrain {_others(going, node_id)} first",
        )
    needed = sum(each.bytes for each in held)
    promised: dict[str, int] = {}
    for pool in snapshot.pools.values():
        promised[pool.node.node_id] = promised.get(pool.node.node_id, 0) + pool.reserved
    free = sum(
        max(0, each.disk_free - max(each.disk_reserved, promised.get(each.node_id, 0)))
        for each in staying
        if each.signs.heard_at is not None
    )
    if free < needed:
        raise ProblemError(
            "drain-impossible",
            f"{', '.join(going)} together keep {format_size(needed)}, the nodes that stay "
            f"have {format_size(free)} free: add space, or undrain {_others(going, node_id)} first",
        )


def must_be_empty(session: Session, node_id: str, now: datetime, dead_after: float) -> None:
    """Raise ProblemError `node-in-use` unless nothing is kept by a node, by its own word too."""
    reasons = why_not_empty(session, node_id, now, dead_after)
    if reasons:
        raise ProblemError(
            "node-in-use", "; ".join(reasons) + "; or say 'force' for a node that is lost"
        )


def why_not_empty(session: Session, node_id: str, now: datetime, dead_after: float) -> list[str]:
    """What speaks against retiring a node, in words for people; empty when it keeps nothing.

    The catalogue alone doesn't count: one that was restored from a backup doesn't know what is
    there. A node that isn't heard can't say.
    """
    held = holding(session, node_id)
    coming = session.scalar(
        select(func.count())
        .select_from(models.Copy)
        .where(models.Copy.node_id == node_id, models.Copy.state == "copying")
    )
    node = session.get_one(models.Node, node_id)
    if held.files or held.open_sessions or coming:
        first = "" if node.wanted == "draining" else "drain it first and "
        return [
            f"{node_id} still has {held.files} copies ({format_size(held.bytes)}), {coming} coming "
            f"and {held.open_sessions} open sessions: {first}wait until it is empty"
        ]
    if node.heartbeat is None or node.heard_at is None:
        # Nor does a database that was made anew or restored know what is there.
        return [
            f"{node_id} was never heard here, or not since the database was restored, and can't "
            "say that it keeps nothing: start it, or wait for its next heartbeat"
        ]
    if (now - node.heard_at).total_seconds() > dead_after:
        return [
            f"{node_id} was last heard at {node.heard_at:%Y-%m-%dT%H:%M:%SZ} and can't say that "
            "it keeps nothing: start it"
        ]
    told = Heartbeat.model_validate_json(node.heartbeat)
    if told.files or told.active_uploads:
        return [
            f"{node_id} itself says that it has {told.files} files and {told.active_uploads} "
            "uploads under way: it tells of what isn't known here, wait for it"
        ]
    if told.scrub_damaged:
        return [
            f"{node_id} has {told.scrub_damaged} files in quarantine: settle them there with "
            "`portside-agent quarantine`"
        ]
    return []


def _others(going: list[str], node_id: str) -> str:
    others = sorted(set(going) - {node_id})
    return " and ".join(others) if others else "nothing: no other node drains; wait"
