"""When each API key was last used, to the hour: a key that nobody uses any more can be ended.

What a request costs is a look into a dictionary. A key that is used all day is written down once an
hour, by each process, behind the requests: the exact moment isn't worth a write for each of them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from control.db.database import Database, DatabaseUnavailable
from control.db.models import ApiKey

COARSE = timedelta(hours=1)
"""How far from the truth a key's last use may be."""


class KeyUse:
    """Notes what keys are used. Thread-safe; remembers what this process has noted."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, datetime] = {}

    def seen(self, key_sha256: str, now: datetime) -> None:
        """A key that counts was used. Two threads may both note it, which does no harm."""
        noted = self._noted.get(key_sha256)
        # A clock that was set back must not keep it from being noted for as long.
        if noted is not None and abs(now - noted) < COARSE:
            return
        self._noted[key_sha256] = now
        self._database.behind(partial(self._note, key_sha256, now))

    def _note(self, key_sha256: str, now: datetime) -> None:
        def write(session: Session) -> None:
            session.execute(
                update(ApiKey)
                .where(
                    ApiKey.key_sha256 == key_sha256,
                    # Another process may have noted it meanwhile.
                    or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - COARSE),
                )
                .values(last_used_at=now)
            )

        try:
            self._database.write(write, durable=False)
        except DatabaseUnavailable:
            # With its next use.
            self._noted.pop(key_sha256, None)
