"""How long files live: the moment that each has from its session, changed, and told to every copy.

Nodes know the moment from the file's own attributes and stop serving it by themselves; here it is
looked at with each question. A changed one has a version, and is ordered from each node that has a
copy, in the answers to its heartbeats, until the node says that it keeps it: one that was away for
long ends its copy by the older moment, and takes that back when it hears of the newer.

The moment comes from the session that was opened here and the commit that its first receipt tells,
within the bounds of what is possible: no node's word ends another one's copy. Of a file without a
session (its token was another issuer's, or the catalogue was rebuilt) nodes are believed as far as
they let it live: the latest of the moments that they tell counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.models import File, LifetimeOrder, UploadSession
from portside.cluster.lifetimes import end_of
from portside.tokens import LEEWAY
from portside.wire import heartbeat as wire
from portside.wire.claims import ReceiptClaims

_LEEWAY = timedelta(seconds=LEEWAY)


def first_moment(
    upload: UploadSession | None, claims: ReceiptClaims, now: datetime
) -> datetime | None:
    """When a file ends of which this is the first receipt."""
    if upload is None:
        return moment_of(claims.expires_at)
    return moment_of(end_of(_possible(upload, claims, now), upload.expires_in))


def _possible(upload: UploadSession, claims: ReceiptClaims, now: datetime) -> datetime:
    """The commit's moment as its node has it: after the session was opened, and not to come."""
    earliest, latest = upload.created_at - _LEEWAY, now + _LEEWAY
    return min(max(claims.committed_at, earliest), latest)


def told(session: Session, file: File, upload: UploadSession | None, claims: ReceiptClaims) -> None:
    """Compare what another node says of its copy; the file's row is locked."""
    there = moment_of(claims.expires_at)
    if upload is None and file.lifetime_version == 0 and file.expires_at is not None:
        if there is None or there > file.expires_at:
            file.expires_at = there
            session.flush()
        return
    if there != file.expires_at:
        order(session, file, (claims.iss,))


def order(session: Session, file: File, nodes: Iterable[str]) -> None:
    """Have these nodes' copies end when the file does."""
    for node_id in nodes:
        copies.insert_if_new(session, LifetimeOrder, {"node_id": node_id, "file_id": file.file_id})


def orders_for(session: Session, node_id: str) -> tuple[wire.LifetimeOrder, ...]:
    """What a heartbeat's answer tells a node."""
    rows = session.execute(
        select(File.file_id, File.expires_at, File.lifetime_version)
        .join(LifetimeOrder, LifetimeOrder.file_id == File.file_id)
        .where(LifetimeOrder.node_id == node_id)
        .order_by(LifetimeOrder.file_id)
        .limit(wire.MOST_CHANGES)
    )
    return tuple(
        wire.LifetimeOrder(
            file_id=file_id,
            version=version,
            expires_at=None if moment is None else int(moment.timestamp()),
        )
        for file_id, moment, version in rows
    )


def kept(session: Session, node_id: str, said: Sequence[wire.LifetimeKept]) -> None:
    """A node says which orders it has carried out: those of the newest version are over."""
    for each in said:
        file = copies.lock_file(session, each.file_id)
        if file is None or file.lifetime_version == each.version:
            session.execute(
                delete(LifetimeOrder).where(
                    LifetimeOrder.node_id == node_id, LifetimeOrder.file_id == each.file_id
                )
            )


def moment_of(expires_at: int | None) -> datetime | None:
    """A moment as nodes keep it, as the catalogue does."""
    return None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
