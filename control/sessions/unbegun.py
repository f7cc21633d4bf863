"""Space that sessions held whose upload didn't begin in time: given back when their node says so.

Until its token's `exp` an upload has to have begun, which is when it has a byte; after that its
node lets none begin. Each heartbeat tells which ones have bytes, so that what hasn't needn't be
held until the session's deadline, hours later. A node that can't tell is waited for until then.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from control.db.database import Database
from control.db.models import UploadSession
from control.files import receipts
from portside.tokens import LEEWAY

SURE = timedelta(seconds=2 * LEEWAY)
"""Behind `exp`, by the node's clock: it takes a token for LEEWAY longer, and has gathered what it
tells in less than as long again."""

BATCH = 200
"""Sessions of one transaction: the others come with the next heartbeat."""


def give_back(
    database: Database, node_id: str, begun: Collection[str], sent_at: datetime, now: datetime
) -> int:
    """End the sessions of a node whose time to begin is over and that haven't; returns how many.

    `begun` are all that have, as of `sent_at` by the node's clock. Raises DatabaseUnavailable.
    """
    # A node whose clock is ahead doesn't end what it may be sent yet.
    before = min(sent_at, now) - SURE

    def late(session: Session) -> list[str]:
        return list(
            session.scalars(
                select(UploadSession.session_id)
                .where(
                    text("sessions.state = 'open'"),
                    UploadSession.node_id == node_id,
                    UploadSession.expires_at < before,
                    UploadSession.session_id.not_in(begun),
                )
                .order_by(UploadSession.expires_at)
                .limit(BATCH)
            )
        )

    # Nearly always there is none: a look disturbs no writer.
    found = database.read(late)
    if not found:
        return 0

    def end(session: Session) -> None:
        for session_id in sorted(found):
            receipts.expire(session, session_id)

    # A power cut undoes it at most: the node tells it again.
    database.write(end, durable=False)
    return len(found)
