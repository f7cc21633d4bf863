"""The digest of what each node should have, followed copy by copy.

A node's own digest comes with each heartbeat (`portside.inventory`), and the two are compared each
time. So this one may cost no more than what changed: a copy that comes or goes leaves a row, and
the rows are folded into the node's digest now and then. Nobody who registers copies waits for the
node's row.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from control.db.models import Copy, File, InventoryChange, Node
from portside.inventory import EMPTY, toggled

HELD = ("present", "deleting")
"""States of a copy that should be on its node's disk now."""

UNKNOWN_OWNER = "unknown"
"""Whose a file is that came without a session of ours: a receipt doesn't say."""

FOLDED_AT = 1000
"""Changes of a node that are read with each of its heartbeats; more are folded."""

MOST_FOLDED = 20_000
"""Changes of one transaction: some tenths of a second."""


DESCRIBED = or_(File.owner != UNKNOWN_OWNER, File.content_type.is_not(None))
"""In SQL: `is_described`."""


def is_described(file: File) -> bool:
    """Whether more is known of a file than its receipt says.

    The copies of one that isn't are left out of the digest, so that their nodes find a difference
    and tell all that they know. An owner may really be called "unknown"; what a node tells has a
    content type besides.
    """
    return file.owner != UNKNOWN_OWNER or file.content_type is not None


def is_believed(file: File, node_id: str) -> bool:
    """Whether a copy on this node belongs into its digest, once it is there.

    One of a file that is another node's word alone doesn't (`control.files.vouching`): so its node
    finds a difference, tells what it has, and may bear that word out.
    """
    return is_described(file) and file.vouched_by in (None, node_id)


def changed(session: Session, node_id: str, file_id: str) -> None:
    """A copy came to a node or went, in the transaction of the caller's that says so."""
    session.execute(insert(InventoryChange).values(node_id=node_id, file_id=file_id))


def all_believed(session: Session, file_ids: Sequence[str]) -> None:
    """These files are one node's word no more, in a moment: other nodes' copies count from then on.

    Their rows are locked.
    """
    added = (
        select(Copy.node_id, Copy.file_id)
        .join(File, File.file_id == Copy.file_id)
        .where(File.file_id.in_(file_ids), File.vouched_by != Copy.node_id)
        .where(Copy.state.in_(HELD), DESCRIBED)
    )
    session.execute(insert(InventoryChange).from_select(["node_id", "file_id"], added))


def digest(session: Session, node_id: str) -> str:
    """The digest of the copies that should be on a node's disk now."""
    # One statement: between two another transaction might fold.
    rows = session.execute(
        select(Node.inventory, InventoryChange.file_id)
        .outerjoin(InventoryChange, InventoryChange.node_id == Node.node_id)
        .where(Node.node_id == node_id)
    ).all()
    folded = rows[0][0] if rows else EMPTY
    return toggled(folded, (file_id for _, file_id in rows if file_id is not None))


def fold(session: Session, node_id: str) -> int:
    """Work some of a node's changes into its digest; returns how many there were."""
    node = session.get_one(Node, node_id, with_for_update=True, populate_existing=True)
    oldest = (
        select(InventoryChange.change_id)
        .where(InventoryChange.node_id == node_id)
        .order_by(InventoryChange.change_id)
        .limit(MOST_FOLDED)
    )
    # What was deleted is what is counted: a row that another transaction commits meanwhile stays.
    went = session.scalars(
        delete(InventoryChange)
        .where(InventoryChange.change_id.in_(oldest))
        .returning(InventoryChange.file_id)
        .execution_options(synchronize_session=False)
    ).all()
    node.inventory = toggled(node.inventory, went)
    session.flush()
    return len(went)


def to_fold(session: Session) -> list[str]:
    """The nodes that have enough changes to be folded."""
    return list(
        session.scalars(
            select(InventoryChange.node_id)
            .group_by(InventoryChange.node_id)
            .having(func.count() >= FOLDED_AT)
        )
    )


def take_in(session: Session, node_id: str, file_ids: list[str]) -> None:
    """Many copies came to a node at once; its row is locked by the caller."""
    node = session.get_one(Node, node_id)
    session.execute(
        update(Node)
        .where(Node.node_id == node_id)
        .values(inventory=toggled(node.inventory, file_ids))
    )


def known_on(node_id: str) -> Select[str]:
    """The ids that a node's digest is of."""
    return select(Copy.file_id).join(File, File.file_id == Copy.file_id).where(believed_on(node_id))


def believed_on(node_id: str) -> ColumnElement[bool]:
    """Of copies with their files: those that a node's digest is of."""
    is_told = or_(File.vouched_by.is_(None), File.vouched_by == node_id)
    return and_(Copy.node_id == node_id, Copy.state.in_(HELD), DESCRIBED, is_told)


def counted(session: Session, node_id: str) -> str:
    """The digest worked out anew from every copy: for whoever doubts `digest`."""
    worked_out: str = EMPTY
    rows = session.scalars(known_on(node_id).execution_options(yield_per=10_000))
    for part in rows.partitions():
        worked_out = toggled(worked_out, part)
    return worked_out
