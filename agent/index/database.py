"""The node's SQLite file: transactions that are on disk when they return. Its tables: `schema`.

Two processes share it, the web side and the worker, and for the length of a reload a second web
side. One connection writes and another reads, so that a listing doesn't wait for a commit's sync.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.index.schema import create_tables


class Database:
    """The database of one process. Thread-safe; every change is durable when its block ends."""

    def __init__(self, path: Path) -> None:
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._writer = _connect(path)
        self._reader = _connect(path)
        with self.transaction() as connection:
            create_tables(connection)

    def close(self) -> None:
        """Close both connections."""
        self._writer.close()
        self._reader.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block of changes that happen all together or, when it raises, not at all.

        Raises sqlite3.Error; SQLITE_FULL means that the disk is full.
        """
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Every row of a query, as of now."""
        with self._reading:
            return self._reader.execute(query, parameters).fetchall()

    def row(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        with self._reading:
            found: tuple[Any, ...] | None = self._reader.execute(query, parameters).fetchone()
            return found

    def note(self, key: str) -> str | None:
        """A note that `take_note` left."""
        found = self.row("SELECT value FROM notes WHERE key = ?", (key,))
        return None if found is None else str(found[0])

    def take_note(self, key: str, value: str) -> None:
        """Remember one value under a key, in place of an older one."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO notes VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )


def _connect(path: Path) -> sqlite3.Connection:
    # Transactions are begun by hand, so that a writer waits for its turn at the beginning and never
    # finds in the middle that another process was first.
    connection = sqlite3.connect(path, check_same_thread=False, timeout=30, isolation_level=None)
    # WAL lets readers read while one writes; FULL syncs the log at every commit.
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
