"""The node's SQLite file: transactions that are on disk when they return. Its tables: `schema`.

On a full disk they go on: the log beside the file and free pages in it are taken beforehand
(`Database.hold_room`). Only opening it needs room, for the log and for the memory that its
processes share.

Two processes share it, the web side and the worker, and for the length of a reload a second web
side. One connection writes and another reads, so that a listing doesn't wait for a commit's sync.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.host import linux
from agent.index.schema import create_tables
from portside import durable_file
from portside.durable_file import NO_ROOM
from portside.quantities import KIB, MIB

LOG_ROOM = 8 * MIB
"""Bytes that are taken for the log. SQLite writes it back at 1000 pages, 4 MiB, and begins anew."""

FREE_ROOM = 1 * MIB
"""Bytes of free pages in the file: without them the log couldn't be written back, and grew."""


_SHARED_MEMORY = 64 * KIB
"""Bytes: SQLite maps 32 KiB for each 16 MiB of the log."""

_opening = threading.Lock()
_opened: Counter[Path] = Counter()
"""How often this process has each database open."""
_shared_memory: dict[Path, list[int]] = {}
"""Descriptors that are kept for as long."""


class Database:
    """The database of one process. Thread-safe; every change is durable when its block ends."""

    def __init__(self, path: Path) -> None:
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        # One spelling of it: what is counted is the file.
        self._path = path = path.resolve()
        self._closed = False
        with _opening:
            # Before it is open: whoever closes another one must know.
            _opened[path] += 1
        self._writer = _connect(path)
        self._reader = _connect(path)
        with self.transaction() as connection:
            create_tables(connection)
        self._allocate_shared_memory()

    def close(self) -> None:
        """Close both connections; again, it does nothing."""
        self._writer.close()
        self._reader.close()
        with _opening:
            if self._closed:
                return
            self._closed = True
            _opened[self._path] -= 1
            if not _opened[self._path]:
                for descriptor in _shared_memory.pop(self._path, ()):
                    os.close(descriptor)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A block of changes that happen all together or, when it raises, not at all.

        Raises sqlite3.Error; SQLITE_FULL means that the disk is full.
        """
        with self._writing, self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            yield self._writer

    def sync_log(self) -> None:
        """Have all that a start finds be on the disk. Raises OSError.

        What a killed process wrote last may be in memory only: told from here on, a power cut would
        take it back. Commits from now on are synced anyway.
        """
        try:
            descriptor = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            durable_file.sync(descriptor)
        finally:
            os.close(descriptor)

    def hold_room(self, log: int = LOG_ROOM) -> bool:
        """Take what transactions will need on a full disk, `log` bytes for the log among it.

        False where there is no room for that. Raises sqlite3.Error and OSError.
        """
        try:
            self._allocate_log(log)
            self._add_free_pages()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            return False
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_FULL:
                raise
            return False
        return True

    def _allocate_shared_memory(self) -> None:
        """All blocks of the memory that processes share, which SQLite maps.

        It takes a block of each 4 KiB itself. Where blocks are smaller, touching another one on a
        full disk would be the process's end (SIGBUS). The descriptor is kept while the process has
        the database open: to close it would let go of SQLite's locks on the file (fcntl(2)).
        """
        # Where a filesystem can't be mapped SQLite has neither this nor the log.
        with _opening, suppress(FileNotFoundError):
            descriptor = os.open(f"{self._path}-shm", os.O_RDWR | os.O_CLOEXEC)
            _shared_memory.setdefault(self._path, []).append(descriptor)
            linux.allocate(descriptor, 0, _SHARED_MEMORY)

    def _allocate_log(self, size: int) -> None:
        """Behind SQLite's back, but beyond the log's end: its length stays.

        Never so with the file itself: to close it here would let go of SQLite's locks.
        """
        try:
            descriptor = os.open(f"{self._path}-wal", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            linux.allocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def _add_free_pages(self) -> None:
        ((pages,),), ((size,),) = self.rows("PRAGMA freelist_count"), self.rows("PRAGMA page_size")
        missing = FREE_ROOM - pages * size
        if missing < FREE_ROOM // 2:
            return
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS room (bytes BLOB)")
            connection.execute("INSERT INTO room VALUES (zeroblob(?))", (missing,))
        # Written to the file before they are free: SQLite writes no page that nobody needs.
        with self._writing:
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        with self.transaction() as connection:
            connection.execute("DROP TABLE IF EXISTS room")

    def rows(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
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
