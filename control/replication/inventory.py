"""Whether a node has what the catalogue says: its inventory, heartbeat by heartbeat.

A heartbeat carries a digest over the ids of the node's files (`portside.inventory`). If it is the
one of the copies that we believe to be there, each of them is. If not, the node is told ours, goes
through its files and asks page by page where we differ (`portside.wire.inventory`). While files
come and go the two differ for moments; so a difference alone proves nothing, and nothing is changed
by comparing: what is wanted the node tells next, what is missing it looks for and then tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import PurePosixPath

import structlog
from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from control.catalogue import inventory
from control.db.database import Database
from control.db.models import Copy, CopyState, File, Node
from portside.inventory import EMPTY, toggled
from portside.wire.heartbeat import Heartbeat
from portside.wire.inventory import BelievedFile, InventoryAnswer, InventoryPage

_log = structlog.get_logger()

MOST_MISSING = 1000
"""Files of one answer that aren't where they should be: the others come with the next comparison.
Paths are long, and a page that has none of a million files may be the last one."""


def prove(database: Database, node_id: str) -> bool:
    """Believe a node's older copies again if its inventory is as expected.

    Returns whether it is proven now. Raises DatabaseUnavailable.
    """

    def compare(session: Session) -> tuple[datetime | None, bool]:
        node = session.get_one(Node, node_id)
        if node.returned_at is None or node.heartbeat is None:
            return node.returned_at, False
        told = Heartbeat.model_validate_json(node.heartbeat)
        return node.returned_at, told.inventory == inventory.digest(session, node_id)

    returned_at, same = database.read(compare)
    if returned_at is None:
        return True
    if same:
        # Unless it went and came back once more in between.
        proven = update(Node).where(Node.node_id == node_id, Node.returned_at == returned_at)
        database.write(lambda session: session.execute(proven.values(returned_at=None)))
        _log.info("inventory proven", node=node_id)
    return same


def compare(session: Session, page: InventoryPage) -> InventoryAnswer:
    """Where a page of a node's files differs from its copies here. Changes nothing."""
    if page.file_ids is None:
        ids = [file_id for file_id, _ in _between(session, page)]
        return InventoryAnswer(same=toggled(EMPTY, ids) == page.digest)
    here = set(page.file_ids)
    rows = _between(session, page)
    believed = {file_id for file_id, _ in rows}
    # One that is being deleted is settled by its lease.
    missing = [file_id for file_id, state in rows if state == "present" and file_id not in here]
    return InventoryAnswer(
        same=believed == here,
        wanted=tuple(file_id for file_id in page.file_ids if file_id not in believed),
        missing=tuple(
            BelievedFile(file_id=file_id, path=PurePosixPath(path))
            for file_id, path in _paths(session, missing[:MOST_MISSING])
        ),
    )


def _between(session: Session, page: InventoryPage) -> Sequence[Row[str, CopyState]]:
    query = inventory.known_on(page.node_id).with_only_columns(Copy.file_id, Copy.state)
    if page.after is not None:
        query = query.where(Copy.file_id > page.after)
    if page.last is not None:
        query = query.where(Copy.file_id <= page.last)
    return session.execute(query).all()


def _paths(session: Session, file_ids: Sequence[str]) -> Sequence[Row[str, str]]:
    return session.execute(select(File.file_id, File.path).where(File.file_id.in_(file_ids))).all()
