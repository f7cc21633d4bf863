"""Repair: rounds over what a node that is away, came back, or lost files leaves undone.

Every step finds its work in an index of exactly what is left to do and takes it in batches, one
transaction each: it goes on wherever the last one ended, however that was. Several workers may go
their rounds at once: files that one has locked are skipped by the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import ColumnElement, or_, select, text, tuple_
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.snapshot import Snapshots
from control.db import models
from control.db.database import Database
from control.replication import cluster_view, inventory, leases, reconcile
from control.replication.cluster_view import is_given_up
from control.replication.time_budget import TimeBudget
from control.settings import Settings

SWEPT = 200
"""Copies of one transaction that only change their state."""

RECONCILED = 20
"""Files of one transaction that are looked at one by one: some ten milliseconds, in which SQLite's
other writers wait."""

_OVER = text("files.state = 'committed' AND files.present > files.factor")
"""In the words of the partial index, or SQLite doesn't take it."""

_FIRST = (-1, "")

_log = structlog.get_logger()


class _Batch(Protocol):
    def __call__(self, session: Session, file_ids: Sequence[str]) -> None: ...


class RepairRounds:
    """One worker's rounds. All that it remembers between two is where it was."""

    def __init__(self, database: Database, settings: Settings, snapshots: Snapshots) -> None:
        self._database = database
        self._settings = settings
        self._snapshots = snapshots
        self._budget = TimeBudget()
        self._short = _FIRST
        self._over = ""

    def round(self, now: datetime) -> None:
        """Go once over everything. Raises DatabaseUnavailable."""
        self._budget = TimeBudget()
        snapshot = self._database.read(self._snapshots.take)
        for node_id in snapshot.nodes:
            if is_given_up(snapshot, node_id, self._settings, now):
                self._give_up(node_id, now)
        for node_id in self._database.read(_away_before):
            if snapshot.nodes[node_id].state not in ("down", "retired"):
                self._take_back(node_id, now)
        if not self._database.read(lambda session: inventory.is_being_learned(session, now)):
            self._fill(now)
        self._thin_out(now)

    def _give_up(self, node_id: str, now: datetime) -> None:
        """Count a node's copies no more: they are `lost` until it comes back."""

        def batch(session: Session, file_ids: Sequence[str]) -> None:
            # Its row is locked: a heartbeat that comes now comes behind this batch.
            node = session.get_one(models.Node, node_id, with_for_update=True)
            if not is_given_up(self._snapshots.take(session), node_id, self._settings, now):
                return
            node.given_up_at = node.given_up_at or now
            for file in reconcile.lock_those_free(session, file_ids):
                leases.call_off(session, file, now, place=node_id)
                # What it was to send is sent by another.
                leases.call_off(session, file, now, source=node_id)
                copy = copies.copies_of(session, file.file_id).get(node_id)
                if copy is not None and copy.state == "copying":
                    # It never came: there is nothing to come back.
                    copies.left(session, file, node_id, now)
                else:
                    copies.lost(session, file, node_id, now, lost_as="away")

        def find(session: Session) -> Sequence[str]:
            here = _copies_on(session, node_id, models.Copy.state.in_(("present", "copying")))
            return here or reconcile.pushes_from(session, node_id, SWEPT)

        if count := self._in_batches(find, batch):
            _log.info("copies given up", node=node_id, count=count)

    def _take_back(self, node_id: str, now: datetime) -> None:
        """Count the copies of a node again that came back, as doubtful until it proves them."""

        def batch(session: Session, file_ids: Sequence[str]) -> None:
            node = session.get_one(models.Node, node_id, with_for_update=True)
            if self._snapshots.take(session).nodes[node_id].state in ("down", "retired"):
                return
            if node.returned_at is None:
                node.returned_at = now
            for file in reconcile.lock_those_free(session, file_ids):
                copies.back(session, file, node_id, node.returned_at, now)
                if file.state in ("deleting", "deleted"):
                    # Deleted everywhere while this node was away.
                    file.state = "deleting"
                    leases.order_deletion(session, file, node_id, "delete", now, tombstone=True)

        def find(session: Session) -> Sequence[str]:
            away = (models.Copy.state == "lost") & (models.Copy.lost_as == "away")
            return _copies_on(session, node_id, away)

        def all_counted(session: Session) -> None:
            node = session.get_one(models.Node, node_id, with_for_update=True)
            if not find(session):
                node.given_up_at = None

        if count := self._in_batches(find, batch):
            _log.info("copies are back", node=node_id, count=count)
        if self._database.read(lambda session: not find(session)):
            self._database.write(all_counted)
            inventory.prove(self._database, node_id)

    def _fill(self, now: datetime) -> None:
        """Order what files lack: those with the fewest copies first, then on from where it was."""
        reached = self._fill_behind(_FIRST, now)
        while not self._budget.is_over:
            self._short = max(self._short, reached)
            if reached == _FIRST:
                break
            self._short = reached = self._fill_behind(self._short, now)

    def _fill_behind(self, place: tuple[int, str], now: datetime) -> tuple[int, str]:
        """One batch behind a place. Returns its last file's place, the first of all at the end."""
        key = tuple_(models.File.present, models.File.file_id)
        rows = self._database.read(
            lambda session: session.execute(
                select(models.File.present, models.File.file_id)
                .where(copies.SHORT, key > tuple_(*place))
                .order_by(models.File.present, models.File.file_id)
                .limit(RECONCILED)
            ).all()
        )
        self._reconcile([file_id for _, file_id in rows], now)
        return (rows[-1][0], rows[-1][1]) if len(rows) == RECONCILED else _FIRST

    def _thin_out(self, now: datetime) -> None:
        """Order away what files have too much of."""
        while not self._budget.is_over:
            file_ids = self._database.read(self._over_behind)
            self._reconcile(file_ids, now)
            self._over = file_ids[-1] if len(file_ids) == RECONCILED else ""
            if not self._over:
                return

    def _over_behind(self, session: Session) -> Sequence[str]:
        return session.scalars(
            select(models.File.file_id)
            .where(_OVER, models.File.file_id > self._over)
            .order_by(models.File.file_id)
            .limit(RECONCILED)
        ).all()

    def _reconcile(self, file_ids: Sequence[str], now: datetime) -> None:
        def batch(session: Session) -> None:
            view = cluster_view.load(session, self._snapshots, self._settings, now)
            for file_id in file_ids:
                file = reconcile.lock_if_free(session, file_id)
                if file is not None:
                    reconcile.reconcile_file(session, view, file, now)

        if file_ids:
            self._database.write(batch)

    def _in_batches(
        self,
        find: Callable[[Session], Sequence[str]],
        batch: _Batch,
    ) -> int:
        """Carry out batches on what is found, until nothing is; returns how much it was."""
        total = 0
        while not self._budget.is_over:
            file_ids = self._database.read(find)
            if not file_ids:
                break
            self._database.write(partial(batch, file_ids=file_ids))
            total += len(file_ids)
        return total


def _away_before(session: Session) -> Sequence[str]:
    """Nodes whose copies were given up, or which haven't proven yet that they still have them."""
    return session.scalars(
        select(models.Node.node_id).where(
            or_(models.Node.given_up_at.is_not(None), models.Node.returned_at.is_not(None))
        )
    ).all()


def _copies_on(session: Session, node_id: str, which: ColumnElement[bool]) -> Sequence[str]:
    """Files with such a copy on this node."""
    return session.scalars(
        select(models.Copy.file_id)
        .where(models.Copy.node_id == node_id, which)
        .order_by(models.Copy.file_id)
        .limit(SWEPT)
    ).all()
