"""Whether a node that came back still has what it had: its inventory against the catalogue.

A heartbeat carries a digest over the ids of the node's files (`portside.inventory`). If it is the
one of the copies that we believe to be there, each of them is. While files come and go the two
differ for moments; so a difference proves nothing, and the next round looks again.
"""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.db.database import Database
from control.db.models import Copy, Node
from portside.inventory import EMPTY, toggled
from portside.wire.heartbeat import Heartbeat

_log = structlog.get_logger()

_ROWS = 10_000
"""Rows that are in memory at a time."""


def prove(database: Database, node_id: str) -> bool:
    """Believe a node's older copies again if its inventory is as expected.

    Returns whether it is proven now. Raises DatabaseUnavailable.
    """

    def compare(session: Session) -> tuple[datetime | None, bool]:
        node = session.get_one(Node, node_id)
        if node.returned_at is None or node.heartbeat is None:
            return node.returned_at, False
        told = Heartbeat.model_validate_json(node.heartbeat)
        return node.returned_at, told.inventory == believed(session, node_id)

    returned_at, same = database.read(compare)
    if returned_at is None:
        return True
    if same:
        # Unless it went and came back once more in between.
        proven = update(Node).where(Node.node_id == node_id, Node.returned_at == returned_at)
        database.write(lambda session: session.execute(proven.values(returned_at=None)))
        _log.info("inventory proven", node=node_id)
    return same


def believed(session: Session, node_id: str) -> str:
    """The digest of the copies that should be on a node's disk now."""
    digest: str = EMPTY
    rows = session.scalars(
        select(Copy.file_id)
        .where(Copy.node_id == node_id, Copy.state.in_(("present", "deleting")))
        .execution_options(yield_per=_ROWS)
    )
    for part in rows.partitions():
        digest = toggled(digest, part)
    return digest
