"""An app or an operator has a file end at another moment, or takes an end back."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.reach import Reach
from control.cluster.snapshot import Snapshot
from control.db.deferred_log import log_on_commit
from control.db.models import File
from control.files import lifetimes, service
from control.files.lifetimes import moment_of
from control.problems import ProblemError
from control.settings import Settings
from portside.cluster.lifetimes import end_of
from portside.wire.control import FileView
from portside.wire.files import LifetimeChange


def change(
    session: Session,
    snapshot: Snapshot,
    settings: Settings,
    file_id: str,
    reach: Reach,
    wanted: LifetimeChange,
    now: datetime,
) -> FileView:
    """Have a file end at another moment than before, or not at all. Raises ProblemError.

    One that has ended is back at once for whoever asks here, and on each node with its heartbeat.
    """
    file = copies.lock_file(session, file_id)
    if file is None or not reach.covers(file.app_id, file.namespace):
        raise service.unknown(file_id)
    grace = timedelta(seconds=settings.lifetimes.grace)
    if file.state in ("deleting", "deleted") or file.has_ended(now - grace):
        raise service.file_deleted()
    moment = moment_of(wanted.moment(now))
    _must_be_allowed(settings, file, moment)
    if moment != file.expires_at:
        file.expires_at, file.lifetime_version = moment, file.lifetime_version + 1
        file.changed_at = now
        session.flush()
        there = copies.copies_of(session, file_id).values()
        lifetimes.order(session, file, [each.node_id for each in there if each.state != "gone"])
        log_on_commit(
            session, "lifetime changed", file_id=file_id, expires_at=moment and moment.isoformat()
        )
    return service.view_of(session, snapshot, file, now)


def _must_be_allowed(settings: Settings, file: File, moment: datetime | None) -> None:
    longest = settings.lifetimes.longest.get(file.namespace)
    latest = moment_of(end_of(file.committed_at, longest))
    if latest is not None and (moment is None or moment > latest):
        raise ProblemError(
            "lifetime-refused",
            f"files of {file.namespace!r} live {longest} seconds at most: this one may end at "
            f"{latest.isoformat()} or earlier",
        )
