"""The digest over the ids of all committed files, followed change by change.

Triggers of the index (`agent.index.schema`) note down every file that comes in or goes out. The
digest is what was last worked out and what was noted down since: a beat reads a few rows, however
many files there are.
"""

from __future__ import annotations

import sqlite3

import structlog

from agent.index.database import Database
from portside.inventory import EMPTY, toggled

_log = structlog.get_logger()

NOTE = "inventory"
"""The key of the note that holds the digest last worked out."""

FOLD = 1000
"""Changes that are read again and again until they are worked into the note: a write each time
would be in the way of uploads."""

BATCH = 20_000
"""Changes worked in at once: the index is held for as long as that takes."""


class Inventory:
    """The digest of one node. One thread asks for it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def digest(self) -> str:
        """The digest as of now."""
        while True:
            known = self._database.note(NOTE) or EMPTY
            rows = self._database.rows(
                "SELECT rowid, file_id FROM inventory_changes ORDER BY rowid LIMIT ?", (BATCH,)
            )
            digest = toggled(known, (file_id for _, file_id in rows))
            if len(rows) >= FOLD:
                self._fold_if_it_can(digest, rows[-1][0], must=len(rows) == BATCH)
            if len(rows) < BATCH:
                return digest

    def _fold_if_it_can(self, digest: str, last: int, must: bool) -> None:
        """On a full disk the changes are read once more: the node is to be heard of above all."""
        try:
            self._fold(digest, last)
        except sqlite3.OperationalError as error:
            if must:
                raise
            _log.error("changes of the inventory stay as they are", error=str(error))

    def _fold(self, digest: str, last: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM inventory_changes WHERE rowid <= ?", (last,))
            connection.execute(
                "INSERT INTO notes VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (NOTE, digest),
            )
