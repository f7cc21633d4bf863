"""Whether a node has what the catalogue says: its inventory, heartbeat by heartbeat.

A heartbeat carries a digest over the ids of the node's files (`portside.inventory`). If it is the
one of the copies that we believe to be there, each of them is. If not, the node is told ours, goes
through its files and asks page by page where we differ (`portside.wire.inventory`). While files
come and go the two differ for moments; so a difference alone proves nothing, and nothing is changed
by comparing: what is wanted the node tells next, what is missing it looks for and then tells.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath

import structlog
from sqlalchemy import ColumnElement, and_, func, select, true, update
from sqlalchemy.orm import Session

from control.catalogue import inventory
from control.db.database import Database
from control.db.models import ClusterState, Copy, File, Node, Pool
from portside.inventory import EMPTY, toggled
from portside.wire.heartbeat import Heartbeat
from portside.wire.inventory import MOST_IDS, BelievedFile, InventoryAnswer, InventoryPage

_log = structlog.get_logger()

MOST_MISSING = 1000
"""Files of one answer that aren't where they should be: the others come with the next comparison.
Paths are long, and a page that has none of a million files may be the last one."""


LEARNING = timedelta(hours=1)
"""A million files and more are taken over in it."""

MOST_OF_IT = 0.9
"""Of a node's bytes: what is just being uploaded, or can't be taken over, is a small part."""


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


def is_being_learned(session: Session, now: datetime) -> bool:
    """Whether nodes have much that isn't known yet, as after a restore: they tell it just now.

    A file of which one node told seems to lack the copies that others are about to tell of. Only
    for so long after this control plane was away: a node with files that can't be taken over
    must not keep others from being copied for good.
    """
    state = session.get(ClusterState, 1)
    if state is None or state.listening_since is None:
        return False
    if not timedelta(0) <= now - state.listening_since < LEARNING:
        return False
    known = dict(
        session.execute(select(Pool.node_id, func.sum(Pool.stored)).group_by(Pool.node_id)).all()
    )
    nodes = session.execute(
        select(Node.node_id, Node.heartbeat).where(
            Node.in_roster, Node.wanted != "retired", Node.down_since.is_(None)
        )
    )
    return any(
        # One that hasn't told anything yet is down soon, or has by then.
        heartbeat is None
        or known.get(node_id, 0)
        < MOST_OF_IT * Heartbeat.model_validate_json(heartbeat).stored_bytes
        for node_id, heartbeat in nodes
    )


def compare(session: Session, page: InventoryPage) -> InventoryAnswer:
    """Where a page of a node's files differs from its copies here. Changes nothing.

    A page's bounds are the node's word, and between them may lie all that it should have: no more
    of that is read than can be answered.
    """
    if page.deleted:
        alive = select(File.file_id).where(
            File.file_id.in_(page.file_ids or ()), File.state == "committed"
        )
        wanted = tuple(session.scalars(alive.order_by(File.file_id)))
        return InventoryAnswer(same=not wanted, wanted=wanted)
    if page.file_ids is None:
        # With more than a page may have, it is another set whatever its digest says.
        between = inventory.known_on(page.node_id).where(_bounds(page))
        ids = session.scalars(between.limit(MOST_IDS + 1)).all()
        same = len(ids) <= MOST_IDS and toggled(EMPTY, ids) == page.digest
        return InventoryAnswer(same=same)
    here = page.file_ids
    known = set(
        session.scalars(inventory.known_on(page.node_id).where(Copy.file_id.in_(here))).all()
    )
    rows = session.execute(
        select(Copy.file_id, Copy.state, File.path)
        .join(File, File.file_id == Copy.file_id)
        .where(inventory.believed_on(page.node_id), _bounds(page), Copy.file_id.not_in(here))
        .order_by(Copy.file_id)
        .limit(MOST_MISSING)
    ).all()
    return InventoryAnswer(
        same=len(known) == len(here) and not rows,
        wanted=tuple(file_id for file_id in here if file_id not in known),
        missing=tuple(
            BelievedFile(file_id=file_id, path=PurePosixPath(path))
            for file_id, state, path in rows
            # One that is being deleted is settled by its lease.
            if state == "present"
        ),
    )


def _bounds(page: InventoryPage) -> ColumnElement[bool]:
    """Of copies: those whose ids lie within a page."""
    after = true() if page.after is None else Copy.file_id > page.after
    last = true() if page.last is None else Copy.file_id <= page.last
    return and_(after, last)
