"""One file of a move: its next step, carried out in the transaction it is given.

Whatever changes a file's row in `move_files` holds the lock of the file itself. What is moved is
`switched` first and counted by the move's own round: so a receipt that arrives needs no lock of the
move, and no file is counted twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from control.cluster.placement import Place
from control.db.deferred_log import log_on_commit
from control.db.models import File, Move, MoveFile, MoveFileState, Work
from control.moves.rules import next_step
from control.replication import cluster_view, leases
from control.replication.cluster_view import ClusterView
from control.replication.policy import CopyOnNode, Standing
from control.replication.reconcile import path_taken, unfit
from control.settings import Settings

Taken = Literal["copying", "waiting", "ended", "no room"]


@dataclass(frozen=True, slots=True)
class Way:
    """From which node to which one a file goes."""

    source: str
    target: str
    place: Place | None
    """The target's pool; None while nothing can be placed there."""


def advance(
    session: Session,
    view: ClusterView,
    move: Move,
    file: File,
    way: Way,
    bytes_per_second: int | None,
    now: datetime,
    *,
    may_copy: bool,
) -> Taken:
    """Take a file's next step. `no room` means that a copy is needed and can't be ordered now."""
    row = session.get(MoveFile, (move.move_id, file.file_id), populate_existing=True)
    if row is not None and row.state in ("switched", "failed", "skipped"):
        return "ended"
    if file.vouched_by is not None:
        why = f"it is there by {file.vouched_by}'s word alone: see `portside-control believe`"
        _keep(session, move, file, way, "skipped", why, now)
        return "ended"
    copies, standing = view.standing(session, file)
    taken_by = path_taken(session, file).get(way.target)
    step = next_step(copies, standing, way.source, way.target, taken_by)
    if step.kind == "copy":
        if row is not None and row.state == "copying":
            # It was ordered and came to nothing.
            _keep(session, move, file, way, "failed", _why(session, move, file), now)
            return "ended"
        sender = _sender(view, standing, way.source) if may_copy else None
        if sender is None or way.place is None or way.place.room < file.size:
            return "no room"
        leases.order_copy(
            session,
            file,
            sender,
            way.target,
            way.place.pool_id,
            move.reason,
            now,
            move_id=move.move_id,
            bytes_per_second=bytes_per_second,
        )
        view.took(sender, way.place, file.size)
        view.going[way.source] = view.going.get(way.source, 0) + file.size
        _keep(session, move, file, way, "copying", "", now)
        return "copying"
    if step.kind == "spread":
        _spread(session, view, move, file, copies, standing, bytes_per_second, now)
        _keep(session, move, file, way, "waiting", step.why, now)
        return "waiting"
    if step.kind == "wait":
        coming = any(each.node_id == way.target and each.state == "copying" for each in copies)
        _keep(session, move, file, way, "copying" if coming else "waiting", step.why, now)
        return "copying" if coming else "waiting"
    if step.kind == "skip":
        _keep(session, move, file, way, "skipped", step.why, now)
    else:
        # The source's copy is served no more and goes; the target's is there.
        leases.order_deletion(
            session, file, way.source, move.reason, now, tombstone=False, move_id=move.move_id
        )
        _keep(session, move, file, way, "switched", "", now)
    return "ended"


def arrived(session: Session, settings: Settings, file: File, node_id: str, now: datetime) -> None:
    """A copy was just counted at `node_id`: if a move wanted it there, its reference switches now.

    In the transaction of the receipt, so that nobody sees the one without the other.
    """
    row = session.execute(
        select(MoveFile, Move)
        .join(Move, Move.move_id == MoveFile.move_id)
        .where(
            MoveFile.file_id == file.file_id,
            MoveFile.target == node_id,
            MoveFile.state == "copying",
            Move.state.in_(("running", "paused")),
        )
    ).first()
    if row is None:
        return
    wanted, move = row
    copies, standing = cluster_view.standing_of(session, settings, file, now)
    step = next_step(copies, standing, wanted.source, node_id, None)
    if step.kind == "switch":
        leases.order_deletion(
            session, file, wanted.source, move.reason, now, tombstone=False, move_id=move.move_id
        )
        wanted.state, wanted.since = "switched", now
        session.flush()


def _keep(
    session: Session,
    move: Move,
    file: File,
    way: Way,
    state: MoveFileState,
    detail: str,
    now: datetime,
) -> None:
    row = session.get(MoveFile, (move.move_id, file.file_id))
    if row is None:
        row = MoveFile(
            move_id=move.move_id,
            file_id=file.file_id,
            source=way.source,
            target=way.target,
            size=file.size,
        )
        session.add(row)
    if row.state != state:
        row.state, row.since = state, now
    row.detail = detail
    session.flush()
    if state in ("skipped", "failed"):
        log_on_commit(
            session,
            "file not moved",
            level="warning",
            move=move.move_id,
            file_id=file.file_id,
            why=detail,
        )


def _spread(
    session: Session,
    view: ClusterView,
    move: Move,
    file: File,
    copies: list[CopyOnNode],
    standing: Standing,
    bytes_per_second: int | None,
    now: datetime,
) -> None:
    """Order a copy on a node that placement chooses. None fits now: the next round tries again."""
    place = view.place(file.size, unfit(session, view, file, copies))
    sender = view.loads.source(standing.good)
    if place is None or sender is None:
        return
    leases.order_copy(
        session,
        file,
        sender,
        place.node_id,
        place.pool_id,
        move.reason,
        now,
        move_id=move.move_id,
        bytes_per_second=bytes_per_second,
    )
    view.took(sender, place, file.size)


def _sender(view: ClusterView, standing: Standing, source: str) -> str | None:
    """Who copies the file: the source itself if it can be reached, else whoever has it."""
    good = standing.good
    return view.loads.source([source] if source in good else good)


def _why(session: Session, move: Move, file: File) -> str:
    last = session.scalars(
        select(Work)
        .where(Work.file_id == file.file_id, Work.move_id == move.move_id)
        .order_by(Work.created_at.desc())
        .limit(1)
    ).one_or_none()
    return last.detail if last is not None and last.detail else "the copy didn't arrive"
