"""What is put right when this node's clock was ahead for a while and is set back.

A moment that was noted meanwhile lies in the future, and what goes by it would wait until then:
copies and hooks for their next attempt, the scrubber for a file that seems to be read tomorrow. The
attempts are made now, and what has happened can't have been later than now.

Left alone is what was told to others: when a file was committed, until when an upload may go on.
An object in the cold tier whose removal was due later is removed later.
"""

from __future__ import annotations

import structlog

from agent.index.database import Database
from agent.outbox import cold_orders

_log = structlog.get_logger()


def bring_back(database: Database, now: int) -> None:
    """Bring what was noted of the future back to `now`, Unix seconds. Raises sqlite3.Error."""
    microseconds = now * 1_000_000
    with database.transaction() as connection:
        for table, condition in (("pushes", ""), ("deliveries", "AND kind != :removal")):
            connection.execute(
                f"UPDATE {table} SET due = :now "  # noqa: S608 (our own texts)
                f"WHERE state = 'WAITING' AND due > :now {condition}",
                {"now": now, "removal": cold_orders.REMOVAL},
            )
        for table, column in (
            ("pushes", "ordered_at"),
            ("copies", "confirmed_at"),
            ("departed", "removed_at"),
            ("revoked", "told_at"),
        ):
            connection.execute(
                f"UPDATE {table} SET {column} = :now WHERE {column} > :now",  # noqa: S608 (our own)
                {"now": now},
            )
        connection.execute(
            "UPDATE files SET verified_at = :now WHERE verified_at > :now", {"now": microseconds}
        )
    _log.warning("what was noted by a clock that was ahead is brought back")
