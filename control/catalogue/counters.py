"""The running counters, counted again: what they should say by the rows they stand for.

Two queries over whole tables: for tests, for `portside-control check --counters` and for whoever
doubts them, never on the way of a request.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control.catalogue import inventory, usage
from control.catalogue.usage import NOTHING, Key
from control.db.models import Copy, File, Node, Pool, UploadSession


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that is wrong."""

    what: str
    counter: str
    says: int | str
    should: int | str

    def __str__(self) -> str:
        return f"{self.what}: {self.counter} is {self.says}, it should be {self.should}"


@dataclass(frozen=True, slots=True)
class WrongUsage:
    """What an owner or an app is said to have, and has."""

    key: Key
    says: usage.Amount
    should: usage.Amount

    def __str__(self) -> str:
        app_id, owner = self.key
        whose = f"{owner or 'every owner'} of {app_id or 'no app'}"
        return f"{whose}: usage is {self.says}, it should be {self.should}"


def differences(session: Session) -> list[Difference | WrongUsage]:
    """Every counter of pools, files, nodes and usage that differs from its rows; empty is right."""
    return [
        *_of_pools(session),
        *_of_files(session),
        *_of_nodes(session),
        *of_usage(session),
    ]


def of_usage(session: Session) -> list[WrongUsage]:
    """What owners and apps have by their counters, where their rows say otherwise."""
    # The counters first: what changes meanwhile is looked at again before anything is put right.
    says = usage.said(session)
    should = usage.counted(session)
    return [
        WrongUsage(key, said, counted)
        for key in sorted(says.keys() | should.keys())
        if (said := says.get(key, NOTHING)) != (counted := should.get(key, NOTHING))
    ]


def _of_pools(session: Session) -> list[Difference]:
    promised = {
        pool: (total, count)
        for pool, total, count in session.execute(
            select(UploadSession.pool_id, func.sum(UploadSession.reserved), func.count())
            .where(UploadSession.state == "open")
            .group_by(UploadSession.pool_id)
        )
    }
    stored: dict[str, int] = {
        pool: int(total)
        for pool, total in session.execute(
            select(Copy.pool_id, func.sum(File.size))
            .join(File, File.file_id == Copy.file_id)
            .where(Copy.state.in_(("present", "deleting")))
            .group_by(Copy.pool_id)
        )
    }
    found = []
    for pool in session.scalars(select(Pool).order_by(Pool.pool_id)):
        reserved, count = promised.get(pool.pool_id, (0, 0))
        for counter, says, should in (
            ("reserved", pool.reserved, int(reserved)),
            ("open_sessions", pool.open_sessions, count),
            ("stored", pool.stored, stored.get(pool.pool_id, 0)),
        ):
            if says != should:
                found.append(Difference(f"pool {pool.pool_id}", counter, says, should))
    return found


def _of_files(session: Session) -> list[Difference]:
    present = (
        select(Copy.file_id, func.count().label("copies"))
        .where(Copy.state == "present")
        .group_by(Copy.file_id)
        .subquery()
    )
    should = func.coalesce(present.c.copies, 0)
    rows = session.execute(
        select(File.file_id, File.present, should)
        .outerjoin(present, present.c.file_id == File.file_id)
        .where(File.present != should)
        .order_by(File.file_id)
    )
    return [Difference(f"file {each}", "present", says, real) for each, says, real in rows]


def _of_nodes(session: Session) -> list[Difference]:
    found = []
    for node_id in session.scalars(select(Node.node_id).order_by(Node.node_id)):
        says, should = inventory.digest(session, node_id), inventory.counted(session, node_id)
        if says != should:
            found.append(Difference(f"node {node_id}", "inventory", says, should))
    return found
