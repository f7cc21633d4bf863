"""Moves going on: rounds in which a worker takes files in hand, in batches with a cursor.

A batch is one transaction under the move's lock: what is ordered, what is noted of each file and
how far the cursor is become true together. A worker that dies loses nothing but its last batch;
two workers never have one move at the same time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.placement import Place
from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.db.models import OPEN_MOVE_STATES, Copy, File, Move, MoveFile, MoveFileState, Pool
from control.moves import service, step
from control.moves.rules import pushes
from control.moves.step import Taken, Way
from control.replication import cluster_view, reconcile
from control.replication.balance import fullest_over, improves, mean_share
from control.replication.cluster_view import ClusterView
from control.replication.time_budget import SECONDS, TimeBudget
from control.settings import Settings

TAKEN = 20
"""Files that one batch takes in hand at most: some ten milliseconds."""

WAITING = 200
"""Files of one move that wait for more good copies, above which it takes no more in hand."""


class MoveRounds:
    """One worker's rounds over the moves that run."""

    def __init__(self, database: Database, settings: Settings, snapshots: Snapshots) -> None:
        self._database = database
        self._settings = settings
        self._snapshots = snapshots

    def round(self, now: datetime) -> None:
        """Go on with every move. Raises DatabaseUnavailable."""
        going = self._database.read(
            lambda session: session.scalars(
                select(Move.move_id)
                .where(Move.state.in_(OPEN_MOVE_STATES))
                .order_by(Move.created_at, Move.move_id)
            ).all()
        )
        for move_id in going:
            budget = TimeBudget(SECONDS / len(going))
            self._look_after(move_id, now)
            while self._take_more(move_id, now) and not budget.is_over:
                pass

    def _look_after(self, move_id: str, now: datetime) -> None:
        """Go on with the files that the move has in hand, and count those that are moved."""
        behind: str | None = ""
        while behind is not None:
            place = behind

            def batch(session: Session, place: str = place) -> str | None:
                locked = self._lock_move(session, move_id, now)
                return None if locked is None else locked.look_after(place)

            behind = self._database.write(batch)

    def _take_more(self, move_id: str, now: datetime) -> bool:
        """Take more files in hand; returns whether there may be still more at once."""

        def batch(session: Session) -> bool:
            locked = self._lock_move(session, move_id, now)
            return locked is not None and locked.take_more()

        return self._database.write(batch)

    def _lock_move(self, session: Session, move_id: str, now: datetime) -> MoveBatch | None:
        """The move with its row locked; None when it doesn't go on or another worker has it."""
        move = session.scalars(
            select(Move)
            .where(Move.move_id == move_id, Move.state.in_(OPEN_MOVE_STATES))
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        ).one_or_none()
        if move is None:
            return None
        count_moved(session, move)
        if move.state == "paused":
            return None
        if move.state == "planned":
            move.state, move.started_at = "running", now
        view = cluster_view.load(session, self._snapshots, self._settings, now)
        return MoveBatch(session, view, move, now)


class MoveBatch:
    """One transaction of a move."""

    def __init__(self, session: Session, view: ClusterView, move: Move, now: datetime) -> None:
        self._session = session
        self._view = view
        self._move = move
        self._now = now
        limit, self._each = pushes(move.bytes_per_second)
        self._slots = limit - self._count("copying")

    def look_after(self, behind: str) -> str | None:
        """Go on with files in hand behind this one; returns the last, None when it was all."""
        rows = self._session.scalars(
            select(MoveFile)
            .where(
                MoveFile.move_id == self._move.move_id,
                MoveFile.state.in_(("copying", "waiting")),
                MoveFile.file_id > behind,
            )
            .order_by(MoveFile.file_id)
            .limit(TAKEN)
        ).all()
        for row in rows:
            file = reconcile.lock_if_free(self._session, row.file_id)
            if file is not None:
                self._advance(file, Way(row.source, row.target, self._place_on(row.target)))
        count_moved(self._session, self._move)
        return rows[-1].file_id if len(rows) == TAKEN else None

    def take_more(self) -> bool:
        """Take files in hand behind the cursor. Returns whether there may be more at once."""
        hours = service.hours_of(self._move)
        if hours is not None and not hours.contain(self._now):
            self._move.error = f"it is {self._now:%H:%M} UTC, outside of its hours"
            return False
        waiting = self._count("waiting")
        if waiting >= WAITING:
            self._move.error = f"{waiting} files wait for more good copies of theirs"
            return False
        self._move.error = None
        more = self._rebalance() if self._move.reason == "rebalance" else self._take()
        count_moved(self._session, self._move)
        return more

    def _take(self) -> bool:
        source = self._session.get_one(Pool, self._move.source_pool)
        target = self._session.get_one(Pool, self._move.target_pool)
        place = self._view.place_of(target.pool_id)
        if place is None:
            why = self._view.snapshot.nodes[target.node_id].reasons
            self._move.error = f"nothing can be placed on {target.node_id}: {'; '.join(why)}"
            return False
        file_ids = self._behind(self._move.cursor, source.node_id, source.pool_id)
        for file_id in file_ids:
            file = reconcile.lock_if_free(self._session, file_id)
            if file is None:
                return False
            if self._advance(file, Way(source.node_id, target.node_id, place)) == "no room":
                if place.room < file.size:
                    self._move.error = f"{target.pool_id} has no room for {file.size} bytes more"
                return False
            self._move.cursor = file_id
        if len(file_ids) == TAKEN:
            return True
        self._end_if_nothing_is_in_hand()
        return False

    def _rebalance(self) -> bool:
        giver = self._giver()
        if giver is None:
            self._end_if_nothing_is_in_hand()
            return False
        node_id, _, behind = self._move.cursor.partition(":")
        file_ids = self._behind(behind if node_id == giver else "", giver, None)
        for file_id in file_ids:
            file = reconcile.lock_if_free(self._session, file_id)
            if file is None or self._giver() != giver:
                return False
            place = self._better_place(file, giver)
            if place is not None:
                way = Way(giver, place.node_id, place)
                if self._advance(file, way) == "no room":
                    return False
            self._move.cursor = f"{giver}:{file_id}"
        if len(file_ids) == TAKEN:
            return True
        self._end_if_nothing_is_in_hand()
        return False

    def _giver(self) -> str | None:
        fullest = fullest_over(self._view.usages(), self._move.filter["band"])
        return None if fullest is None else fullest.node_id

    def _better_place(self, file: File, giver: str) -> Place | None:
        """Where a file goes so that the nodes come closer together; None: it stays."""
        usages = self._view.usages()
        without = {
            *(each.node_id for each in usages if each.share >= mean_share(usages)),
            *(self._view.keepers.keys() - {each.node_id for each in usages}),
            *(
                node_id
                for node_id, copy in copies.copies_of(self._session, file.file_id).items()
                if copy.state not in ("lost", "gone")
            ),
            *reconcile.path_taken(self._session, file),
        }
        place = self._view.place(file.size, without)
        if place is None or not improves(usages, giver, place.node_id, file.size):
            return None
        return place

    def _behind(self, cursor: str, node_id: str, pool_id: str | None) -> Sequence[str]:
        # A rebalance that begins anew with a node meets files again that it has in hand.
        known = exists().where(
            MoveFile.move_id == self._move.move_id, MoveFile.file_id == Copy.file_id
        )
        return self._session.scalars(
            select(File.file_id)
            .join(Copy, Copy.file_id == File.file_id)
            .where(
                Copy.file_id > cursor,
                ~known,
                *service.chosen(self._move.filter, node_id, pool_id),
            )
            .order_by(Copy.file_id)
            .limit(TAKEN)
        ).all()

    def _advance(self, file: File, way: Way) -> Taken:
        taken = step.advance(
            self._session,
            self._view,
            self._move,
            file,
            way,
            self._each,
            self._now,
            may_copy=self._slots > 0,
        )
        if taken == "copying":
            self._slots -= 1
        return taken

    def _place_on(self, node_id: str) -> Place | None:
        pool = (
            None if self._move.target_pool is None else self._view.place_of(self._move.target_pool)
        )
        return pool or next((p for p in self._view.places if p.node_id == node_id), None)

    def _count(self, state: MoveFileState) -> int:
        return (
            self._session.scalar(
                select(func.count())
                .select_from(MoveFile)
                .where(MoveFile.move_id == self._move.move_id, MoveFile.state == state)
            )
            or 0
        )

    def _end_if_nothing_is_in_hand(self) -> None:
        if self._count("copying") + self._count("waiting") == 0:
            self._move.state, self._move.ended_at = "done", self._now


def count_moved(session: Session, move: Move) -> None:
    """Bring a move's counts up to date; its row is locked. Moved files are forgotten then."""
    moved = session.scalars(
        delete(MoveFile)
        .where(MoveFile.move_id == move.move_id, MoveFile.state == "switched")
        .returning(MoveFile.size)
        .execution_options(synchronize_session=False)
    ).all()
    move.done += len(moved)
    move.done_bytes += sum(moved)
    totals = {
        state: (count, int(size))
        for state, count, size in session.execute(
            select(MoveFile.state, func.count(), func.sum(MoveFile.size))
            .where(MoveFile.move_id == move.move_id, MoveFile.state.in_(("failed", "skipped")))
            .group_by(MoveFile.state)
        )
    }
    move.failed, move.failed_bytes = totals.get("failed", (0, 0))
    move.skipped, move.skipped_bytes = totals.get("skipped", (0, 0))
