"""Uploads that were begun and never finished: past their deadline, their space is given back."""

from __future__ import annotations

import structlog

from agent.index.database import Database
from agent.index.uploads import Sessions
from agent.settings import Settings
from agent.storage.staging import is_live

_log = structlog.get_logger()


def expire(settings: Settings, database: Database) -> int:
    """End every upload that is past its deadline and not being written; returns how many.

    Its bytes go with the next sweep of staging, which finds that nothing needs them. Its row stays
    for a day: whoever comes late hears 410 instead of 404. Raises sqlite3.Error.
    """
    sessions = Sessions(database)
    ended = 0
    for upload in sessions.overdue():
        # A body in flight is never cut, whatever the time.
        if not is_live(settings.staging / upload.staging):
            sessions.end(upload.upload_id)
            ended += 1
            _log.info("upload expired", upload_id=upload.upload_id, bytes=upload.offset)
    sessions.forget_old()
    return ended
