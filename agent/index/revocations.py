"""Tokens that count no more, by their ids (`portside.tokens.token_id`).

Told by heartbeats' answers and kept for long, or revoked on this node itself and kept until the
token would have ended. The web side reads what others write, so that a revoked token is refused at
its next request. What was revoked here nobody tells again: it also stands in a file of its own,
which an index that is made anew is filled from.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from agent.index.database import Database
from agent.problems import ProblemError
from portside import durable_file

_log = structlog.get_logger()

KEPT = 60 * 86400
"""Seconds after it was last told for which a revocation is kept: who told it tells it again for as
long as the token would count."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """A token that counts no more. `until` is when it would have ended, 0 where others know that.

    Both moments are Unix seconds.
    """

    token_id: str
    told_at: int
    until: int
    reason: str


class Revocations:
    """The rows. Every change is durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def refuse(self, token_id: str) -> None:
        """Raise ProblemError when the token with this id counts no more."""
        if self._database.row(_KNOWN, (token_id, token_id)) is not None:
            raise ProblemError("token-revoked", "this token was revoked: ask for a new one")

    def add(self, jtis: Sequence[str]) -> int:
        """Revoke tokens as told; returns how many weren't yet. Raises sqlite3.Error."""
        now = int(time.time())
        # The same ones come again and again: each would be a sync.
        fresh = [jti for jti in dict.fromkeys(jtis) if not self._told_lately(jti, now)]
        if not fresh:
            return 0
        with self._database.transaction() as connection:
            known = connection.execute("SELECT count(*) FROM revoked").fetchone()[0]
            connection.executemany(
                "INSERT INTO revoked (jti, told_at) VALUES (?, ?) "
                "ON CONFLICT (jti) DO UPDATE SET told_at = excluded.told_at",
                [(jti, now) for jti in fresh],
            )
            added = connection.execute("SELECT count(*) FROM revoked").fetchone()[0] - known
            _forget_old(connection, now)
        return int(added)

    def all(self) -> list[Revoked]:
        """Every one that is known, the newest first."""
        return [
            Revoked(*row)
            for row in self._database.rows(f"{_TOLD} UNION ALL {_HERE} ORDER BY 2 DESC, 1")
        ]

    def revoke(self, token_id: str, until: int, reason: str, kept: Path) -> None:
        """Revoke a token on this node itself; `kept` is the file of those.

        Raises OSError and sqlite3.Error. Cut off between the two, the file has it: whoever opens
        the index next brings it in. Two who revoke at once wait for each other.
        """
        now = int(time.time())
        with self._database.transaction() as connection:
            _insert(connection, [Revoked(token_id, now, until, reason)])
            _forget_old(connection, now)
            rows = connection.execute(_HERE)
            text = json.dumps([asdict(Revoked(*row)) for row in rows])
            durable_file.replace(kept, text.encode(), 0o600)

    def bring_in(self, kept: Path) -> None:
        """What was revoked on this node and the index doesn't know: it was made anew."""
        missing = [
            each for each in _read(kept) if self._database.row(_IS_HERE, (each.token_id,)) is None
        ]
        if missing:
            with self._database.transaction() as connection:
                _insert(connection, missing)
            _log.info("revoked tokens known again", tokens=len(missing))

    def _told_lately(self, jti: str, now: int) -> bool:
        row = self._database.row("SELECT told_at FROM revoked WHERE jti = ?", (jti,))
        return row is not None and now - int(row[0]) < KEPT // 2


_IS_HERE = "SELECT 1 FROM revoked_here WHERE token_id = ?"
_KNOWN = (
    "SELECT 1 FROM revoked WHERE jti = ? UNION ALL SELECT 1 FROM revoked_here WHERE token_id = ?"
)
_HERE = "SELECT token_id, revoked_at, until, reason FROM revoked_here"
_TOLD = (
    "SELECT jti, told_at, 0, '' FROM revoked WHERE jti NOT IN (SELECT token_id FROM revoked_here)"
)


def _insert(connection: sqlite3.Connection, revoked: Sequence[Revoked]) -> None:
    connection.executemany(
        "INSERT INTO revoked_here VALUES (?, ?, ?, ?) "
        "ON CONFLICT (token_id) DO UPDATE SET until = max(until, excluded.until), "
        "reason = excluded.reason",
        [(each.token_id, each.told_at, each.until, each.reason) for each in revoked],
    )


def _forget_old(connection: sqlite3.Connection, now: int) -> None:
    connection.execute("DELETE FROM revoked WHERE told_at < ?", (now - KEPT,))
    connection.execute("DELETE FROM revoked_here WHERE until < ?", (now - KEPT,))


def _read(kept: Path) -> list[Revoked]:
    """Those in the file. One that can't be read is reported: tokens in it may count again."""
    try:
        return [Revoked(**each) for each in json.loads(kept.read_bytes())]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        _log.error("revoked tokens can't be read", path=str(kept), error=str(error))
        return []
