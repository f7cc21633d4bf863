"""Moves as operators see them: what one would do, how one begins, its commands, its progress.

The files themselves are moved by `control.moves.worker`. Of everything that is open at a time no
two moves have the same source, and none takes files to where another one takes them from.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from control.catalogue import copies
from control.cluster.snapshot import Snapshots
from control.db.models import OPEN_MOVE_STATES, Copy, File, Move, MoveFile, Pool, Work
from control.moves.rules import Command, Hours, after
from control.problems import ProblemError
from control.replication import cluster_view
from control.replication.balance import mean_share
from control.replication.cluster_view import ClusterView
from control.settings import Settings
from portside.quantities import format_size
from portside.wire.moves import MovePlan, MoveProgress, MoveReport, MoveRequest, MoveView

REPORTS = 100
"""Files that a view of a move names."""


def create(
    session: Session,
    snapshots: Snapshots,
    settings: Settings,
    request: MoveRequest,
    created_by: str,
    now: datetime,
) -> Move:
    """Begin a move: a worker goes on with it.

    Raises ProblemError when it can't be, among others for the obstacles of its plan.
    """
    hours = _hours(request)
    _lock_pools(session, request)
    planned = plan(session, snapshots, settings, request, now)
    _must_not_cross(session, request)
    if planned.obstacles:
        raise ProblemError("move-impossible", "; ".join(planned.obstacles))
    move = Move(
        move_id=secrets.token_hex(8),
        state="planned",
        reason=request.kind,
        source_pool=request.source or "",
        target_pool=request.target,
        filter=_filter(request, now),
        planned=planned.files,
        planned_bytes=planned.bytes,
        bytes_per_second=request.bytes_per_second,
        hours_from=None if hours is None else _minute(hours.begin),
        hours_until=None if hours is None else _minute(hours.end),
        created_by=created_by,
        created_at=now,
    )
    session.add(move)
    try:
        session.flush()
    except IntegrityError as error:
        # Another control process began one at the same moment: the unique index decides.
        raise _second_move(request.source) from error
    return move


def plan(
    session: Session,
    snapshots: Snapshots,
    settings: Settings,
    request: MoveRequest,
    now: datetime,
) -> MovePlan:
    """What a move would do as of now. Raises ProblemError for pools that are unknown or one."""
    _hours(request)
    view = cluster_view.load(session, snapshots, settings, now)
    if request.kind == "rebalance":
        return _plan_rebalance(view)
    source, target = _pools(session, request)
    counts = _count(session, request, source, target, now)
    place = view.place_of(target.pool_id)
    free = 0 if place is None else max(0, place.room)
    obstacles: list[str] = []
    unreachable = [
        each for each in (source.node_id, target.node_id) if not view.keepers[each].reachable
    ]
    obstacles += [f"node {each} is {view.keepers[each].state}" for each in unreachable]
    if place is None and target.node_id not in unreachable:
        obstacles += view.snapshot.nodes[target.node_id].reasons
    fits = counts.new_bytes <= free
    if place is not None and not fits:
        obstacles.append(
            f"{format_size(counts.new_bytes)} are to go to {target.pool_id}, which has "
            f"{format_size(free)} free"
        )
    return MovePlan(
        files=counts.files,
        bytes=counts.bytes,
        already_there=counts.already_there,
        conflicts=counts.conflicts,
        target_free=free,
        fits=fits,
        reachable=not unreachable,
        obstacles=tuple(obstacles),
    )


def command(session: Session, move_id: str, wish: Command, now: datetime) -> Move:
    """Pause, resume or cancel. Raises ProblemError `move-unknown` or `move-state`."""
    move = session.get(Move, move_id, with_for_update=True, populate_existing=True)
    if move is None:
        raise _unknown(move_id)
    state = after(move.state, wish)
    if state is None:
        raise ProblemError("move-state", f"the move is {move.state}: it can't be told to {wish}")
    move.state = state
    move.error = None
    if state == "cancelled":
        move.ended_at = move.ended_at or now
        _let_go(session, move, now)
    session.flush()
    return move


def view(session: Session, move_id: str, now: datetime) -> MoveView:
    """A move as it stands. Raises ProblemError `move-unknown`."""
    move = session.get(Move, move_id, populate_existing=True)
    if move is None:
        raise _unknown(move_id)
    rows = session.scalars(
        select(MoveFile)
        .where(MoveFile.move_id == move_id, MoveFile.state.in_(("failed", "skipped", "waiting")))
        .order_by(MoveFile.state, MoveFile.file_id)
        .limit(REPORTS)
    )
    reports = [
        MoveReport(file_id=row.file_id, outcome=row.state, detail=row.detail) for row in rows
    ]
    return _view(session, move, reports, now)


def views(session: Session, now: datetime) -> list[MoveView]:
    """Every move, newest first, without their reports."""
    moves = session.scalars(select(Move).order_by(Move.created_at.desc(), Move.move_id))
    return [_view(session, move, (), now) for move in moves]


def chosen(filter_: dict[str, Any], node_id: str, pool_id: str | None) -> list[ColumnElement[bool]]:
    """What holds for a copy, joined to its file, that a move takes from a node."""
    conditions = [
        Copy.node_id == node_id,
        Copy.state == "present",
        File.state == "committed",
        # What has come to its end stays where it is until its grace is over.
        or_(File.expires_at.is_(None), File.expires_at > datetime.now(UTC)),
    ]
    if pool_id is not None:
        conditions.append(Copy.pool_id == pool_id)
    if filter_.get("namespace") is not None:
        conditions.append(File.namespace == filter_["namespace"])
    if filter_.get("owner") is not None:
        conditions.append(File.owner == filter_["owner"])
    if filter_.get("committed_before") is not None:
        conditions.append(File.committed_at < datetime.fromisoformat(filter_["committed_before"]))
    if filter_.get("min_size") is not None:
        conditions.append(File.size >= filter_["min_size"])
    return conditions


def hours_of(move: Move) -> Hours | None:
    """The part of the day in which a move orders copies."""
    if move.hours_from is None or move.hours_until is None:
        return None
    return Hours.parse(f"{_clock(move.hours_from)}-{_clock(move.hours_until)}")


def _filter(request: MoveRequest, now: datetime) -> dict[str, Any]:
    before = None if request.older_than is None else now - timedelta(seconds=request.older_than)
    return {
        "namespace": request.namespace,
        "owner": request.owner,
        "older_than": request.older_than,
        # Told once: what is too young now doesn't come in while the move goes on.
        "committed_before": None if before is None else before.isoformat(),
        "min_size": request.min_size,
        "band": request.band,
    }


def _hours(request: MoveRequest) -> Hours | None:
    try:
        return None if request.hours is None else Hours.parse(request.hours)
    except ValueError as error:
        raise ProblemError("malformed-request", f"hours: {error}") from None


def _pools(session: Session, request: MoveRequest) -> tuple[Pool, Pool]:
    found = []
    for pool_id in (request.source, request.target):
        pool = session.get(Pool, pool_id, populate_existing=True)
        if pool is None:
            raise ProblemError(
                "pool-unknown", f"there is no pool {pool_id!r}: see GET /api/v1/pools"
            )
        found.append(pool)
    source, target = found
    if source.pool_id == target.pool_id:
        raise ProblemError("move-onto-itself", f"{source.pool_id!r} is source and target")
    if source.node_id == target.node_id:
        raise ProblemError(
            "move-onto-itself",
            f"both pools are on node {source.node_id!r}: there is nothing to copy",
        )
    return source, target


def _lock_pools(session: Session, request: MoveRequest) -> None:
    """Those who begin moves with one of these pools come one after the other."""
    names = {request.source, request.target} - {None}
    session.execute(
        select(Pool.pool_id).where(Pool.pool_id.in_(names)).order_by(Pool.pool_id).with_for_update()
    )


def _must_not_cross(session: Session, request: MoveRequest) -> None:
    for other in session.scalars(select(Move).where(Move.state.in_(OPEN_MOVE_STATES))):
        if other.source_pool == (request.source or ""):
            raise _second_move(request.source)
        if request.kind == "rebalance" or other.reason == "rebalance":
            raise ProblemError(
                "move-conflict",
                f"{other.reason} {other.move_id} is {other.state}: a rebalance has the nodes to "
                "itself; wait for the one or cancel it",
            )
        if request.target == other.source_pool or request.source == other.target_pool:
            raise ProblemError(
                "move-conflict",
                f"move {other.move_id} from {other.source_pool} to {other.target_pool} is "
                f"{other.state}: the two would carry files to and fro; wait for it or cancel it",
            )


def _second_move(source: str | None) -> ProblemError:
    what = "a rebalance" if source is None else f"a move from {source!r}"
    return ProblemError("move-conflict", f"there is {what} already: wait for it or cancel it")


def _unknown(move_id: str) -> ProblemError:
    return ProblemError("move-unknown", f"there is no move {move_id!r}: see GET /api/v1/moves")


@dataclass(frozen=True, slots=True)
class _Counts:
    """What a move's filter fits now."""

    files: int
    bytes: int
    already_there: int
    """Of `files`: those that the target has."""
    conflicts: int
    """Of `files`: those whose path another file has on the target."""
    new_bytes: int
    """Those that the target gets, by the files that are neither."""


def _count(
    session: Session, request: MoveRequest, source: Pool, target: Pool, now: datetime
) -> _Counts:
    there, other_copy, other = aliased(Copy), aliased(Copy), aliased(File)
    has_it = exists().where(
        there.file_id == File.file_id,
        there.node_id == target.node_id,
        there.state.in_(("present", "copying")),
    )
    taken = exists().where(
        other.path == File.path,
        other.file_id != File.file_id,
        other_copy.file_id == other.file_id,
        other_copy.node_id == target.node_id,
        other_copy.state.in_(("present", "copying", "deleting")),
    )
    wanted = (
        select(File.size, has_it.label("there"), taken.label("taken"))
        .join(Copy, Copy.file_id == File.file_id)
        .where(*chosen(_filter(request, now), source.node_id, source.pool_id))
    )
    rows = wanted.subquery()
    new = rows.c.there.is_(False) & rows.c.taken.is_(False)
    files, size, there, conflicts, new_bytes = session.execute(
        select(
            func.count(),
            func.sum(rows.c.size),
            func.count().filter(rows.c.there),
            func.count().filter(rows.c.taken & rows.c.there.is_(False)),
            func.sum(rows.c.size).filter(new),
        ).select_from(rows)
    ).one()
    # A sum of no rows is NULL, and PostgreSQL's sums are Decimals.
    return _Counts(files, int(size or 0), there, conflicts, int(new_bytes or 0))


def _plan_rebalance(view: ClusterView) -> MovePlan:
    usages = view.usages()
    mean = mean_share(usages)
    surplus = sum(int(max(0.0, each.share - mean) * each.capacity) for each in usages)
    obstacles = () if len(usages) > 1 else ("fewer than two nodes can take files now",)
    return MovePlan(
        files=0,
        bytes=surplus,
        already_there=0,
        conflicts=0,
        target_free=None,
        fits=True,
        reachable=not obstacles,
        obstacles=obstacles,
    )


def _let_go(session: Session, move: Move, now: datetime) -> None:
    """Call off what no node has begun. What arrives all the same is surplus: repair removes it."""
    in_hand = session.scalars(
        select(MoveFile)
        .where(MoveFile.move_id == move.move_id, MoveFile.state.in_(("copying", "waiting")))
        .order_by(MoveFile.file_id)
    ).all()
    for row in in_hand:
        file = copies.lock_file(session, row.file_id)
        if file is not None:
            _call_off(session, move, file, row.target, now)
        session.delete(row)
    session.flush()


def _call_off(session: Session, move: Move, file: File, target: str, now: datetime) -> None:
    called_off = session.execute(
        update(Work)
        .where(
            Work.move_id == move.move_id,
            Work.file_id == file.file_id,
            Work.kind == "replicate",
            Work.state == "waiting",
        )
        .values(state="failed", detail="the move was cancelled", ended_at=now)
        .returning(Work.lease_id)
        .execution_options(synchronize_session=False)
    ).all()
    if called_off:
        copies.left(session, file, target, now)


def _view(session: Session, move: Move, reports: Sequence[MoveReport], now: datetime) -> MoveView:
    in_hand = {
        state: (count, int(size))
        for state, count, size in session.execute(
            select(MoveFile.state, func.count(), func.sum(MoveFile.size))
            .where(MoveFile.move_id == move.move_id)
            .group_by(MoveFile.state)
        )
    }
    switched, switched_bytes = in_hand.get("switched", (0, 0))
    failed, failed_bytes = in_hand.get("failed", (0, 0))
    skipped, skipped_bytes = in_hand.get("skipped", (0, 0))
    hours = hours_of(move)
    moved = move.done_bytes + switched_bytes
    rate = _rate(move, moved, now)
    return MoveView(
        move_id=move.move_id,
        kind="rebalance" if move.reason == "rebalance" else "move",
        state=move.state,
        source=move.source_pool or None,
        target=move.target_pool,
        namespace=move.filter.get("namespace"),
        owner=move.filter.get("owner"),
        older_than=move.filter.get("older_than"),
        min_size=move.filter.get("min_size"),
        bytes_per_second=move.bytes_per_second,
        hours=None if hours is None else f"{hours.begin:%H:%M}-{hours.end:%H:%M}",
        progress=MoveProgress(
            planned=move.planned,
            planned_bytes=move.planned_bytes,
            copying=in_hand.get("copying", (0, 0))[0],
            waiting=in_hand.get("waiting", (0, 0))[0],
            done=move.done + switched,
            done_bytes=moved,
            failed=failed,
            failed_bytes=failed_bytes,
            skipped=skipped,
            skipped_bytes=skipped_bytes,
        ),
        note=move.error,
        rate=rate,
        seconds_left=None
        if rate is None or move.state != "running"
        else max(0, move.planned_bytes - moved - failed_bytes - skipped_bytes) // rate,
        reports=tuple(reports),
        created_at=move.created_at,
        started_at=move.started_at,
        ended_at=move.ended_at,
    )


def _rate(move: Move, moved: int, now: datetime) -> int | None:
    """Bytes a second since the start, pauses included: what the rest will take is said by it."""
    if move.started_at is None or not moved:
        return None
    seconds = ((move.ended_at or now) - move.started_at).total_seconds()
    return max(1, int(moved / max(1.0, seconds)))


def _minute(at: time) -> int:
    return at.hour * 60 + at.minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"
