"""What this node had and has no more: so that its old URLs lead on, or say that it was deleted.

The table fills itself, by triggers (`agent.index.schema`): every way that a file goes is a change
of its row. It outlives tombstones, and is bounded by the number of its rows.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

from agent.index.database import Database

MOST = 1_000_000
"""Rows that are kept, the newest: some 250 bytes each, 250 MB at most."""

Fate = Literal["moved", "deleted"]
"""`moved`: only this node has no good copy any more."""


@dataclass(frozen=True, slots=True)
class Former:
    """A file that was here."""

    path: str
    file_id: str
    name: str
    fate: Fate


def at_path(database: Database, path: str) -> Former | None:
    """The last file that was at this path and went."""
    return _found(database, "SELECT path, file_id, name, fate FROM former WHERE path = ?", path)


def of_file(database: Database, file_id: str) -> Former | None:
    """The file with this id, if it was here and went."""
    return _found(
        database,
        "SELECT path, file_id, name, fate FROM former WHERE file_id = ? "
        "ORDER BY number DESC LIMIT 1",
        file_id,
    )


def drop_oldest(connection: sqlite3.Connection, most: int = MOST) -> None:
    """Forget what went first, down to `most` rows, in a transaction of the caller's."""
    connection.execute(
        "DELETE FROM former WHERE number <= (SELECT max(number) FROM former) - ?", (most,)
    )


def _found(database: Database, query: str, value: str) -> Former | None:
    row = database.row(query, (value,))
    return None if row is None else Former(*row)
