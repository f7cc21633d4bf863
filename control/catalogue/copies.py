"""Files and their copies: the only place that changes a copy's state, with every counter of it.

Each function belongs into a transaction of the caller's. It begins with `lock_file`, so that what
is done to one file is done one after the other; pools change last (`control.db.models` on the
order).

    copying -> present -> deleting -> gone        present -> lost        lost, gone -> copying

`File.present` counts copies that are present, `Pool.stored` the bytes of those that are present or
being deleted; those are also what each node's inventory digest is of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Table, func, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from control.catalogue import inventory, usage
from control.catalogue.inventory import HELD
from control.db.models import Base, Copy, CopyState, File, LostAs, Pool

SHORT = text("files.state = 'committed' AND files.present < files.factor")
"""Files that lack copies: word for word the condition of their index."""

COPIED_WITHIN = timedelta(hours=1)
"""A new file's further copies are on their way so long: a busy cluster always has some of these."""


def insert_if_new(session: Session, model: type[Base], values: Mapping[str, Any]) -> bool:
    """Insert a row unless one like it is there; returns whether it was new."""
    table = model.__table__
    assert isinstance(table, Table)  # noqa: S101 (every model has one)
    # The key is asked back: a driver's count of inserted rows isn't to be relied on.
    key = list(table.primary_key.columns)
    if session.connection().dialect.name == "sqlite":
        new = sqlite.insert(table).values(**values).on_conflict_do_nothing().returning(*key)
        return session.execute(new).first() is not None
    row = postgresql.insert(table).values(**values).on_conflict_do_nothing().returning(*key)
    return session.execute(row).first() is not None


def lock_file(session: Session, file_id: str) -> File | None:
    """The file's row, nobody else's until the transaction ends (SQLite has one writer anyway)."""
    return session.scalars(
        select(File)
        .where(File.file_id == file_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def lock_files(session: Session, file_ids: Sequence[str]) -> dict[str, File]:
    """The rows of several files, as `lock_file` has one: for who changes a pool with each."""
    if not file_ids:
        return {}
    rows = session.scalars(
        select(File)
        .where(File.file_id.in_(file_ids))
        .order_by(File.file_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {file.file_id: file for file in rows}


def copies_of(session: Session, file_id: str) -> dict[str, Copy]:
    """The file's copies by node, those that are lost or gone as well."""
    rows = session.scalars(
        select(Copy).where(Copy.file_id == file_id).execution_options(populate_existing=True)
    )
    return {copy.node_id: copy for copy in rows}


def named(
    session: Session, file: File, *, owner: str, app_id: str | None, name: str, content_type: str
) -> None:
    """Whose a file is, known now that a node has told it; its row is locked."""
    if usage.counts(file):
        usage.changed(session, file.app_id, file.owner, -usage.of_file(file.size))
        usage.changed(session, app_id, owner, usage.of_file(file.size))
    file.owner, file.app_id, file.name, file.content_type = owner, app_id, name, content_type
    session.flush()
    for copy in copies_of(session, file.file_id).values():
        if copy.state in HELD and inventory.is_believed(file, copy.node_id):
            inventory.changed(session, copy.node_id, file.file_id)


def expect(session: Session, file: File, node_id: str, pool_id: str, now: datetime) -> bool:
    """A copy is on its way to this node; returns False when one is there, coming or going."""
    copy = session.get(Copy, (file.file_id, node_id), populate_existing=True)
    if copy is None:
        session.add(
            Copy(
                file_id=file.file_id,
                node_id=node_id,
                pool_id=pool_id,
                state="copying",
                since=now,
            )
        )
    elif copy.state in ("lost", "gone"):
        copy.pool_id, copy.state, copy.since = pool_id, "copying", now
    else:
        return False
    session.flush()
    return True


def arrived(session: Session, file: File, node_id: str, pool_id: str, now: datetime) -> bool:
    """A receipt of this node's shows that the file is there; returns whether that is news.

    A copy that is being deleted stays so.
    """
    copy = session.get(Copy, (file.file_id, node_id), populate_existing=True)
    if copy is not None and copy.state in ("present", "deleting"):
        return False
    if copy is None:
        copy = Copy(file_id=file.file_id, node_id=node_id, pool_id=pool_id, state="present")
        session.add(copy)
    elif copy.state != "copying":
        copy.pool_id = pool_id
    copy.state, copy.since = "present", now
    _count(session, file, +1, now)
    _hold(session, file, copy, file.size)
    return True


def leaving(session: Session, file: File, node_id: str, now: datetime) -> bool:
    """This copy is to be deleted: it isn't counted or served any more. False if none is there."""
    copy = session.get(Copy, (file.file_id, node_id), populate_existing=True)
    if copy is None or copy.state not in ("present", "copying"):
        return False
    if copy.state == "present":
        _count(session, file, -1, now)
    else:
        # It may have come without our knowing: the order to delete goes out all the same.
        _hold(session, file, copy, file.size)
    copy.state, copy.since = "deleting", now
    session.flush()
    return True


def left(session: Session, file: File, node_id: str, now: datetime) -> None:
    """This copy is deleted, or was never made."""
    _end(session, file, node_id, "gone", now)


def lost(
    session: Session, file: File, node_id: str, now: datetime, *, lost_as: LostAs = "missing"
) -> None:
    """The node says, or its silence does, that this copy isn't there any more."""
    _end(session, file, node_id, "lost", now)
    copy = session.get(Copy, (file.file_id, node_id))
    if copy is not None and copy.state == "lost":
        copy.lost_as = lost_as
        session.flush()


def back(session: Session, file: File, node_id: str, since: datetime, now: datetime) -> bool:
    """A copy that was lost as `away` counts again, since its node came back at `since`."""
    copy = session.get(Copy, (file.file_id, node_id), populate_existing=True)
    if copy is None or copy.state != "lost" or copy.lost_as != "away":
        return False
    copy.state, copy.since = "present", since
    _count(session, file, +1, now)
    _hold(session, file, copy, file.size)
    return True


def _end(session: Session, file: File, node_id: str, state: CopyState, now: datetime) -> None:
    copy = session.get(Copy, (file.file_id, node_id), populate_existing=True)
    if copy is None or copy.state in ("lost", "gone"):
        return
    if copy.state == "present":
        _count(session, file, -1, now)
    if copy.state in HELD:
        _hold(session, file, copy, -file.size)
    copy.state, copy.since = state, now
    session.flush()


def _count(session: Session, file: File, change: int, now: datetime) -> None:
    # The row is locked: nobody else counts meanwhile.
    file.present += change
    file.changed_at = now
    session.flush()


def _hold(session: Session, file: File, copy: Copy, change: int) -> None:
    """A copy takes these bytes of its node from now on, or gives them back."""
    session.flush()
    if inventory.is_believed(file, copy.node_id):
        inventory.changed(session, copy.node_id, copy.file_id)
    if not _add(session, copy.pool_id, change) and copy.pool_id != copy.node_id:
        # The pool was deleted while the copy was on its way: it is in the node's own.
        copy.pool_id = copy.node_id
        session.flush()
        _add(session, copy.pool_id, change)


def _add(session: Session, pool_id: str, change: int) -> bool:
    """Count bytes for a pool; returns whether it is there."""
    counted = session.execute(
        update(Pool)
        .where(Pool.pool_id == pool_id)
        .values(stored=Pool.stored + change)
        .returning(Pool.pool_id)
        .execution_options(synchronize_session=False)
    )
    return counted.first() is not None


def count_short(session: Session, now: datetime) -> tuple[int, int]:
    """Files that lack copies, and those of them that have no good one at all.

    New ones, whose copies are being made, are left out unless they have none.
    """
    rows = session.execute(
        select(File.present, func.count())
        .select_from(File)
        .where(SHORT, or_(File.present == 0, File.committed_at < now - COPIED_WITHIN))
        .group_by(File.present)
    ).all()
    return sum(row[1] for row in rows), sum(row[1] for row in rows if row[0] == 0)
