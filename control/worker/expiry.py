"""What time ends: sessions past their deadline, copies that never came, rows nobody needs any more.

In batches with a transaction each, so that nothing else waits for long. Two workers at the same
time skip each other's rows (SKIP LOCKED; SQLite has one writer), so nothing is given back twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.database import Database
from control.db.models import Copy, File, Revocation, RevokedToken, UploadSession, Work
from control.files import forgotten, receipts, service

_log = structlog.get_logger()

BATCH = 200

ENDED = 50
"""Files of one transaction that are ordered away: a tenth of a second in which sessions wait."""

MOST_BATCHES = 20
"""Of them in one round of 15 s: 66 files a second, five million a day."""

_ENDS = text("files.state = 'committed' AND files.expires_at IS NOT NULL")
"""Word for word the condition of their index."""

MOST_FORGOTTEN = 20
"""Batches of a minute's round, a second of work: 66 files a second, five million a day."""

GRACE = 600.0
"""Seconds that a session's space is held behind its deadline: a body in flight is never cut."""

COPY_PATIENCE = 3600.0
"""Seconds after which a copy counts as not coming that no lease is under way for."""

KEPT = timedelta(days=7)
"""How long ended work and expired sessions can still be looked at."""


def expire_sessions(database: Database, now: datetime) -> int:
    """Give back what sessions past their deadline hold; returns how many. DatabaseUnavailable."""

    def batch(session: Session) -> int:
        rows = session.scalars(
            select(UploadSession)
            .where(
                text("sessions.state = 'open'"),
                UploadSession.deadline < now - timedelta(seconds=GRACE),
            )
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        for row in rows:
            row.state = "expired"
        session.flush()
        receipts.give_back(session, rows)
        return len(rows)

    return _all(database, batch)


def end_files(database: Database, now: datetime, grace: float) -> int:
    """Have files deleted whose grace is over, the longest over first; returns how many.

    Some with each round: they are deleted by leases, and a node has so many at a time anyway.
    """

    def batch(session: Session) -> int:
        file_ids = session.scalars(
            select(File.file_id)
            .where(_ENDS, File.expires_at <= now - timedelta(seconds=grace))
            .order_by(File.expires_at, File.file_id)
            .limit(ENDED)
        ).all()
        # All of them before any pool, which a deletion may count for.
        for file in copies.lock_files(session, file_ids).values():
            # It may have been given more time while this waited for the lock.
            if file.has_ended(now - timedelta(seconds=grace)):
                service.delete_everywhere(session, file, now)
        return len(file_ids)

    total = 0
    for _ in range(MOST_BATCHES):
        count = database.write(batch)
        total += count
        if count < ENDED:
            break
    return total


def give_up_copies(database: Database, now: datetime) -> int:
    """Copies that are long on their way, with no lease for them, are expected no more."""

    def batch(session: Session) -> int:
        under_way = (
            select(Work.lease_id)
            .where(
                Work.file_id == Copy.file_id,
                Work.place == Copy.node_id,
                Work.kind == "replicate",
                Work.state.in_(("waiting", "leased")),
            )
            .exists()
        )
        late = session.execute(
            select(Copy.file_id, Copy.node_id)
            .where(
                text("copies.state = 'copying'"),
                Copy.since < now - timedelta(seconds=COPY_PATIENCE),
                ~under_way,
            )
            .limit(BATCH)
        ).all()
        locked = copies.lock_files(session, [file_id for file_id, _ in late])
        for file_id, node_id in sorted(tuple(each) for each in late):
            file = locked.get(file_id)
            copy = copies.copies_of(session, file_id)[node_id]
            # It may have come while this waited for the lock.
            if file is not None and copy.state == "copying":
                copies.left(session, file, node_id, now)
        return len(late)

    return _all(database, batch)


def purge(database: Database, now: datetime) -> int:
    """Remove what nobody asks for any more; returns how many rows."""

    def batch(session: Session) -> int:
        removed = 0
        old_sessions = (
            select(UploadSession.session_id)
            .where(text("sessions.state = 'expired'"), UploadSession.deadline < now - KEPT)
            .limit(BATCH)
        )
        old_work = (
            select(Work.lease_id)
            .where(Work.ended_at.is_not(None), Work.ended_at < now - KEPT)
            .limit(BATCH)
        )
        old_revocations = (
            select(Revocation.token_id).where(Revocation.expires_at < now - KEPT).limit(BATCH)
        )
        old_tokens = (
            select(RevokedToken.token_id).where(RevokedToken.expires_at < now - KEPT).limit(BATCH)
        )
        for model, key, old in (
            (UploadSession, UploadSession.session_id, old_sessions),
            (Work, Work.lease_id, old_work),
            (Revocation, Revocation.token_id, old_revocations),
            (RevokedToken, RevokedToken.token_id, old_tokens),
        ):
            ids = list(session.scalars(old))
            if ids:
                session.execute(
                    delete(model).where(key.in_(ids)).execution_options(synchronize_session=False)
                )
            removed = max(removed, len(ids))
        return removed

    return _all(database, batch)


class Forgetting:
    """Removes what is left of files that were deleted long ago, some with each round.

    It remembers where it was: files that have to stay keep no others from being looked at.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._place: forgotten.Place | None = None

    def round(self, now: datetime) -> int:
        """Go on, from the beginning again when the last one is reached; returns how many went.

        Raises DatabaseUnavailable.
        """
        total = 0
        for _ in range(MOST_FORGOTTEN):
            step = partial(forgotten.forget, now=now, behind=self._place)
            count, self._place = self._database.write(step, durable=False)
            total += count
            if self._place is None:
                break
        if total:
            _log.info("deleted files forgotten", count=total)
        return total


def _all(database: Database, batch: Callable[[Session], int]) -> int:
    """Batches until one isn't full."""
    total = 0
    while True:
        count = database.write(batch)
        total += count
        if count < BATCH:
            return total
