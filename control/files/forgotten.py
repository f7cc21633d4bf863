"""Deleted files are forgotten in the end: a million a day would fill the catalogue otherwise.

Until then the row says that the file is not to come back: to a node that still has a copy, and to
whoever shows an old receipt. So it stays as long as nodes' tombstones do, and for longer while a
node of the cluster may have a copy of which nobody heard that it is gone: one that was away when
the file was deleted, or keeps it as damaged. After that a receipt from before is too old to make
its file known (`must_be_remembered`); what is really there a node's inventory shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, text
from sqlalchemy.orm import Session

from control.db.models import (
    Copy,
    File,
    HoldOrder,
    LifetimeOrder,
    MoveFile,
    Node,
    UploadSession,
    Work,
)
from control.problems import ProblemError
from portside.wire.claims import ReceiptClaims

KEPT = timedelta(days=30)
"""For how long it is remembered that a file was deleted, as on nodes (`agent.storage.tombstones`);
no token lives that long."""

_MARGIN = timedelta(days=1)
"""Between the oldest receipt that makes a file known and the newest deletion that is forgotten:
more than clocks may differ by, or a node is refused altogether."""

BATCH = 200
"""Files of one transaction: some ten milliseconds, in which sessions wait."""

_DELETED = text("files.state = 'deleted'")
"""Word for word the condition of their index."""


@dataclass(frozen=True, slots=True)
class Place:
    """The last file that was looked at. Some in front of it may have to stay for long."""

    changed_at: datetime
    file_id: str


def forget(session: Session, now: datetime, behind: Place | None) -> tuple[int, Place | None]:
    """Remove some files that were deleted long ago, with all that belongs to them.

    Returns how many, and where to go on; None at the end.
    """
    due = select(File.file_id, File.changed_at).where(
        _DELETED, File.changed_at < now - KEPT - _MARGIN
    )
    if behind is not None:
        due = due.where(
            or_(
                File.changed_at > behind.changed_at,
                and_(File.changed_at == behind.changed_at, File.file_id > behind.file_id),
            )
        )
    rows = session.execute(
        due.add_columns(or_(_may_be_somewhere(), _is_in_hand()).label("stays"))
        .order_by(File.changed_at, File.file_id)
        .limit(BATCH)
        .with_for_update(of=File, skip_locked=True)
    ).all()
    _remove(session, [row.file_id for row in rows if not row.stays])
    last = rows[-1] if len(rows) == BATCH else None
    return (
        sum(not row.stays for row in rows),
        None if last is None else Place(last.changed_at, last.file_id),
    )


def _may_be_somewhere() -> ColumnElement[bool]:
    """Whether a node that is still the cluster's may have a copy: it would tell of it as new."""
    return exists(
        select(Copy.file_id)
        .join(Node, Node.node_id == Copy.node_id)
        .where(Copy.file_id == File.file_id, Copy.state != "gone", Node.in_roster)
    )


def _is_in_hand() -> ColumnElement[bool]:
    """Whether somebody is still to look at it: his next step asks for the file."""
    return or_(
        exists(
            select(Work.lease_id).where(
                Work.file_id == File.file_id, Work.state.in_(("waiting", "leased"))
            )
        ),
        exists(
            select(MoveFile.file_id).where(
                MoveFile.file_id == File.file_id, MoveFile.state.in_(("copying", "waiting"))
            )
        ),
    )


def _remove(session: Session, file_ids: list[str]) -> None:
    if not file_ids:
        return
    for model, key in (
        (HoldOrder, HoldOrder.file_id),
        (LifetimeOrder, LifetimeOrder.file_id),
        (Copy, Copy.file_id),
        (UploadSession, UploadSession.file_id),
        (File, File.file_id),
    ):
        session.execute(
            delete(model).where(key.in_(file_ids)).execution_options(synchronize_session=False)
        )


def must_be_remembered(session: Session, claims: ReceiptClaims, now: datetime) -> None:
    """Raise ProblemError for a receipt that may be of a file whose deletion is forgotten."""
    if claims.iat >= (now - KEPT).timestamp() or session.get(File, claims.file_id) is not None:
        return
    raise ProblemError(
        "receipt-conflict",
        f"the receipt is not taken: nothing is known of its file, and it is older than "
        f"{KEPT.days} days. A file that is there its node tells of by itself",
    )
