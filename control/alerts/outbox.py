"""Messages that are to arrive at a webhook or a mailbox: kept, tried again, given up after a day.

Whoever tries one has it for `LEASE` seconds, so that of several workers one does. A message may
arrive twice when a worker dies between its arrival and the note of it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from control.db.deferred_log import log_on_commit
from control.db.models import AlertChannel, AlertNotice
from portside.alerting.message import AlertMessage
from portside.backoff import Backoff

_log = structlog.get_logger()

LEASE = timedelta(seconds=120)
"""Longer than any attempt takes."""

GIVEN_UP_AFTER = timedelta(days=1)
"""By then whatever lasts is told anew."""

MOST_WAITING = 200
"""Of a channel; of more the oldest go, for they are the stalest."""

BACKOFF = Backoff(first=10.0, longest=600.0, spread=(0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A message that is this worker's to deliver now. `number` counts from 1.

    Without `message` it can't be read here: another release may have written it.
    """

    notice_id: str
    message: AlertMessage | None
    number: int
    created_at: datetime


def put(session: Session, channel: AlertChannel, message: AlertMessage, now: datetime) -> None:
    """Have a message delivered, from now on."""
    notice = AlertNotice(
        notice_id=f"{message.delivery_id}-{channel}",
        channel=channel,
        message=message.model_dump_json(),
        created_at=now,
        due_at=now,
    )
    session.add(notice)
    session.flush()
    newest = (
        select(AlertNotice.notice_id)
        .where(AlertNotice.channel == channel)
        .order_by(AlertNotice.created_at.desc(), AlertNotice.notice_id)
        .limit(MOST_WAITING)
    )
    dropped = session.scalars(
        delete(AlertNotice)
        .where(AlertNotice.channel == channel, AlertNotice.notice_id.not_in(newest))
        .returning(AlertNotice.notice_id)
        .execution_options(synchronize_session=False)
    ).all()
    if dropped:
        log_on_commit(
            session,
            "alerts given up: too many wait",
            level="warning",
            channel=channel,
            count=len(dropped),
        )


def new_id() -> str:
    """That of a message, the same on every channel and attempt."""
    return secrets.token_hex(12)


def take(session: Session, channel: AlertChannel, now: datetime) -> Attempt | None:
    """The oldest message whose turn it is."""
    notice = session.scalars(
        select(AlertNotice)
        .where(
            AlertNotice.channel == channel,
            # One that is due in the far future was noted by a clock that was ahead.
            or_(
                AlertNotice.due_at <= now,
                AlertNotice.due_at > now + LEASE + timedelta(seconds=BACKOFF.longest),
            ),
        )
        .order_by(AlertNotice.created_at, AlertNotice.notice_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if notice is None:
        return None
    notice.attempts += 1
    notice.due_at = now + LEASE
    try:
        message = AlertMessage.model_validate_json(notice.message)
    except ValidationError:
        message = None
    return Attempt(notice.notice_id, message, notice.attempts, notice.created_at)


def arrived(session: Session, attempt: Attempt) -> None:
    """It needs to be told no more."""
    session.execute(delete(AlertNotice).where(AlertNotice.notice_id == attempt.notice_id))


def failed(session: Session, attempt: Attempt, problem: str, now: datetime) -> None:
    """It comes again after a pause, unless it is a day old, or only said that we are alive."""
    age = now - attempt.created_at
    is_alert = attempt.message is None or attempt.message.event == "alerts"
    if not is_alert or age >= GIVEN_UP_AFTER:
        arrived(session, attempt)
        return
    session.execute(
        update(AlertNotice)
        .where(AlertNotice.notice_id == attempt.notice_id)
        .values(
            problem=problem[:500],
            due_at=now + timedelta(seconds=BACKOFF.pause(attempt.number)),
        )
    )


def waiting(session: Session) -> list[tuple[str, int, str]]:
    """Channels with how many messages wait there, and why the last of them failed."""
    counts = session.execute(
        select(AlertNotice.channel, func.count(), func.max(AlertNotice.problem))
        .where(AlertNotice.attempts > 0)
        .group_by(AlertNotice.channel)
        .order_by(AlertNotice.channel)
    )
    return [(str(channel), count, problem) for channel, count, problem in counts]
