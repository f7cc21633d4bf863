"""What commits and deletions leave to do for the cold tier: rows of deliveries, a note a file.

- `cold`: a file is to be backed up; its target is the tier;
- `cold-mark`: the object of a deleted file is to be marked; its target is the object;
- `cold-delete`: an object is to be removed, once the row is due;
- `cold-change`: the tier is to be told when a file ends from now on and whether it is held; its
  target is the tier.

The note `cold:<file id>` has the address of a file's object. The tier's own queue is
`agent.cold.queue`.
"""

from __future__ import annotations

import sqlite3

from agent.index.files import Delivery, add_deliveries
from agent.settings import Cold

BACKUP = "cold"
MARK = "cold-mark"
REMOVAL = "cold-delete"
CHANGE = "cold-change"
KINDS = (BACKUP, MARK, REMOVAL, CHANGE)

STORED = "cold:"
"""What the key of a file's note begins with."""


def deliveries_for(cold: Cold | None, namespace: str) -> list[Delivery]:
    """What a commit in a namespace leaves to do for the cold tier."""
    return [Delivery(BACKUP, cold.target)] if cold is not None and cold.takes(namespace) else []


def file_changed(
    connection: sqlite3.Connection, cold: Cold | None, file_id: str, namespace: str
) -> None:
    """Another end was given to a file, or it was held or released: the tier is to know.

    Its object may be there, be on its way, or come later with what was read before.
    """
    if cold is not None and cold.takes(namespace):
        add_deliveries(connection, file_id, [Delivery(CHANGE, cold.target)])


def file_deleted(connection: sqlite3.Connection, cold: Cold | None, file_id: str, now: int) -> None:
    """A file is deleted for good: what is to become of its object. `now` is Unix seconds.

    A row `cold` of it is left to the worker: a multipart upload may have to be ended.
    """
    if cold is None:
        return
    found = connection.execute(
        "SELECT value FROM notes WHERE key = ?", (STORED + file_id,)
    ).fetchone()
    if found is not None:
        connection.execute("DELETE FROM notes WHERE key = ?", (STORED + file_id,))
        order_removal(connection, cold, file_id, found[0], now)


def order_removal(
    connection: sqlite3.Connection, cold: Cold, file_id: str, address: str, now: int
) -> None:
    """Order what is to become of a deleted file's object. `now` is Unix seconds."""
    rows = []
    if cold.keep_deleted != 0:
        rows.append((file_id, MARK, address, now))
    if cold.keep_deleted is not None:
        rows.append((file_id, REMOVAL, address, now + cold.keep_deleted))
    connection.executemany(
        "INSERT OR IGNORE INTO deliveries (file_id, kind, target, state, due) "
        "VALUES (?, ?, ?, 'WAITING', ?)",
        rows,
    )
