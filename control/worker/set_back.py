"""What is put right when this clock was ahead for a while and is set back.

A moment that was noted meanwhile lies in the future: a node that seems to have been heard tomorrow
would never be missed until then, work would wait, sessions would hold their space. None may bind
for longer than it was meant to, so each is brought back to now, keeping its length where it has
one. It costs one look at each table, and happens when a worker's round finds the last one ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, type_coerce, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from control.cluster.node_states import LONGEST_AVOIDANCE
from control.db.models import Base, ClusterState, Copy, Moment, Node, UploadSession, Work
from control.replication.leases import LEAST_LEASE, PAUSES

_PAST: Sequence[tuple[type[Base], InstrumentedAttribute[Any]]] = (
    (ClusterState, ClusterState.listening_since),
    (ClusterState, ClusterState.learned_at),
    (Node, Node.wanted_at),
    (Node, Node.heard_at),
    (Node, Node.sent_at),
    (Node, Node.down_since),
    (Node, Node.given_up_at),
    (Node, Node.returned_at),
    (Node, Node.outside_at),
    (Copy, Copy.since),
    (Work, Work.created_at),
)
"""Moments at which something happened: it can't have been later than now."""


def bring_back(session: Session, now: datetime) -> None:
    """Bring every moment of the future back. In a transaction of the caller's."""
    for model, column in _PAST:
        _set(session, model, column > now, {column.key: now})
    avoided = now + timedelta(seconds=LONGEST_AVOIDANCE)
    _set(session, Node, Node.avoid_until > avoided, {"avoid_until": avoided})
    waits = now + timedelta(seconds=PAUSES.longest * PAUSES.spread[1])
    _set(session, Work, Work.not_before > waits, {"not_before": now})
    # A node that still has such a lease goes on, and settles it as any other.
    leased = now + timedelta(seconds=LEAST_LEASE)
    _set(session, Work, Work.leased_until > leased, {"leased_until": leased})
    _set(session, UploadSession, UploadSession.created_at > now, _earlier(now))
    session.expire_all()


def _earlier(now: datetime) -> dict[str, object]:
    """A session as if it had been opened now: its deadlines as far off as they were."""
    by = type_coerce(UploadSession.created_at, BigInteger) - type_coerce(now, Moment())
    return {
        "created_at": now,
        "expires_at": type_coerce(UploadSession.expires_at, BigInteger) - by,
        "deadline": type_coerce(UploadSession.deadline, BigInteger) - by,
    }


def _set(
    session: Session, model: type[Base], which: ColumnElement[bool], values: dict[str, object]
) -> None:
    session.execute(
        update(model).where(which).values(values).execution_options(synchronize_session=False)
    )
