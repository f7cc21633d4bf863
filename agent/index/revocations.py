"""Upload tokens that count no more, by their `jti`: told by heartbeats' answers, kept for long.

The web side reads what the worker writes, so that a revoked token is refused at its next request.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from agent.index.database import Database
from agent.problems import ProblemError

KEPT = 60 * 86400
"""Seconds after it was last told for which a revocation is kept: no token lives longer."""


class Revocations:
    """The rows. Every change is durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refuse(self, jti: str) -> None:
        """Raise ProblemError when the token with this id counts no more."""
        if self._database.row("SELECT 1 FROM revoked WHERE jti = ?", (jti,)) is not None:
            raise ProblemError("token-revoked", "this token was revoked: ask for a new one")

    def add(self, jtis: Sequence[str]) -> int:
        """Revoke tokens; returns how many weren't yet. Raises sqlite3.Error."""
        now = int(time.time())
        # The same ones come again and again: each would be a sync.
        fresh = [jti for jti in dict.fromkeys(jtis) if not self._told_lately(jti, now)]
        if not fresh:
            return 0
        with self._database.transaction() as connection:
            known = connection.execute("SELECT count(*) FROM revoked").fetchone()[0]
            connection.executemany(
                "INSERT INTO revoked VALUES (?, ?) "
                "ON CONFLICT (jti) DO UPDATE SET told_at = excluded.told_at",
                [(jti, now) for jti in fresh],
            )
            added = connection.execute("SELECT count(*) FROM revoked").fetchone()[0] - known
            connection.execute("DELETE FROM revoked WHERE told_at < ?", (now - KEPT,))
        return int(added)

    def _told_lately(self, jti: str, now: int) -> bool:
        row = self._database.row("SELECT told_at FROM revoked WHERE jti = ?", (jti,))
        return row is not None and now - int(row[0]) < KEPT // 2
