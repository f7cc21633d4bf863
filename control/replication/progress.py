"""How far a drain is, and what repair has to do, as operators are told."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.snapshot import Snapshots
from control.db import models
from control.replication import cluster_view, draining, obstacles
from control.settings import Settings
from portside.wire.control import DrainProgress, RepairView, ShortFiles

RATE_OVER = timedelta(minutes=5)
"""What the rate of a drain is taken from: long enough for files of some GB."""

_UNDER_WAY = text("work.state IN ('waiting', 'leased')")


def of_drain(
    session: Session, snapshots: Snapshots, settings: Settings, node_id: str, now: datetime
) -> DrainProgress | None:
    """How far a node's drain is; None unless it drains."""
    node = session.get_one(models.Node, node_id)
    if node.wanted != "draining":
        return None
    held = draining.holding(session, node_id)
    files_gone, bytes_gone = _gone(session, node_id, models.Copy.since >= node.wanted_at)
    begin = max(node.wanted_at, now - RATE_OVER)
    _, lately = _gone(session, node_id, models.Copy.since >= begin)
    rate = int(lately / max(1.0, (now - begin).total_seconds())) or None
    left = session.scalars(
        select(models.Copy.file_id)
        .where(models.Copy.node_id == node_id, models.Copy.state == "present")
        .order_by(models.Copy.file_id)
        .limit(obstacles.LOOKED_AT)
    ).all()
    view = cluster_view.load(session, snapshots, settings, now)
    not_yet = draining.why_not_empty(session, node_id, now, settings.dead_after)
    return DrainProgress(
        since=node.wanted_at,
        files_left=held.files,
        bytes_left=held.bytes,
        files_gone=files_gone,
        bytes_gone=bytes_gone,
        copying=_coming(session, node_id),
        bytes_per_second=rate,
        seconds_left=None if rate is None else int(held.bytes / rate),
        blocked=obstacles.of_files(session, view, left, leaving=node_id),
        not_yet=tuple(not_yet),
        drained=not not_yet,
    )


def _gone(session: Session, node_id: str, when: ColumnElement[bool]) -> tuple[int, int]:
    """Files of which the copy here went, and that live on; and their bytes."""
    files, size = session.execute(
        select(func.count(), func.coalesce(func.sum(models.File.size), 0))
        .select_from(models.Copy)
        .join(models.File, models.File.file_id == models.Copy.file_id)
        .where(
            models.Copy.node_id == node_id,
            models.Copy.state == "gone",
            models.File.state == "committed",
            when,
        )
    ).one()
    return int(files), int(size)


def _coming(session: Session, node_id: str) -> int:
    """Copies under way of files that are here: from here, or from another node that has them."""
    return (
        session.scalar(
            select(func.count())
            .select_from(models.Work)
            .join(models.Copy, models.Copy.file_id == models.Work.file_id)
            .where(
                _UNDER_WAY,
                models.Work.kind == "replicate",
                models.Work.place != node_id,
                models.Copy.node_id == node_id,
                models.Copy.state == "present",
            )
        )
        or 0
    )


def of_repair(
    session: Session, snapshots: Snapshots, settings: Settings, now: datetime
) -> RepairView:
    """What repair has to do."""
    short = session.execute(
        select(models.File.present, func.count(), func.coalesce(func.sum(models.File.size), 0))
        .where(copies.SHORT)
        .group_by(models.File.present)
        .order_by(models.File.present)
    ).all()
    work = session.execute(
        select(
            models.Work.state,
            func.count(),
            func.min(models.Work.created_at),
        )
        .where(_UNDER_WAY, models.Work.kind == "replicate")
        .group_by(models.Work.state)
    ).all()
    counts = {state: count for state, count, _ in work}
    failing = session.scalar(
        select(func.count()).where(
            _UNDER_WAY, models.Work.kind == "replicate", models.Work.detail != ""
        )
    )
    given_up = session.scalars(
        select(models.Node.node_id)
        .where(models.Node.given_up_at.is_not(None), models.Node.in_roster)
        .order_by(models.Node.node_id)
    ).all()
    view = cluster_view.load(session, snapshots, settings, now)
    return RepairView(
        short=tuple(
            ShortFiles(present=present, files=files, bytes=int(size))
            for present, files, size in short
        ),
        waiting=counts.get("waiting", 0),
        leased=counts.get("leased", 0),
        failing=failing or 0,
        oldest=min((oldest for _, _, oldest in work), default=None),
        given_up=tuple(given_up),
        blocked=obstacles.of_short_files(session, view),
    )
