"""A catalogue with many files in it, made by bulk inserts: rows as receipts would have left them.

The same rows for both databases: PostgreSQL takes them by COPY, SQLite by one statement for all.
File ids rise, spread over all their values, so that no index is filled at random.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from sqlalchemy import func, select

from control.db.database import Database
from control.db.models import File
from portside.inventory import EMPTY, toggled
from portside.quantities import MIB

_FILE = (
    *("file_id", "app_id", "namespace", "owner", "name", "path", "size", "sha256"),
    *("committed_at", "state", "factor", "present", "changed_at"),
)
_USAGE = ("app_id", "owner", "bytes", "files", "promised_bytes", "promised_files")
_COPY = ("file_id", "node_id", "pool_id", "state", "since")

_APPS = 10
_OWNERS = 10_000
_SPACE = 1 << 128
"""Values of a file id."""

COPIES = 2


def fill_sqlite(database: Path, files: int, nodes: Sequence[str]) -> None:
    """Put `files` files with two copies each into a database that nobody else uses."""
    connection = sqlite3.connect(database)
    # A database that is lost half filled is made anew.
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-1048576")
    with connection:
        for table, columns, rows in _tables(files, nodes):
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
                rows,
            )
        connection.executemany(
            "UPDATE pools SET stored = stored + ? WHERE pool_id = ?", _stored(files, nodes)
        )
        connection.executemany(
            "UPDATE nodes SET inventory = ? WHERE node_id = ?", _inventories(files, nodes)
        )
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def fill_postgresql(url: str, files: int, nodes: Sequence[str]) -> None:
    """The same into PostgreSQL, which then knows how many rows there are."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table, columns, rows in _tables(files, nodes):
            command = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
            with cursor.copy(command.encode()) as copy:
                for row in rows:
                    copy.write_row(row)
        cursor.executemany(
            "UPDATE pools SET stored = stored + %s WHERE pool_id = %s", _stored(files, nodes)
        )
        cursor.executemany(
            "UPDATE nodes SET inventory = %s WHERE node_id = %s", _inventories(files, nodes)
        )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def files_with_copies(url: str, copies: int) -> int:
    """How many files a catalogue has with so many copies present."""
    database = Database(url)
    try:
        counted = select(func.count()).select_from(File).where(File.present == copies)
        return database.read(lambda session: session.scalar(counted)) or 0
    finally:
        database.close()


def _tables(
    files: int, nodes: Sequence[str]
) -> Iterator[tuple[str, Sequence[str], Iterator[tuple[object, ...]]]]:
    now = int(datetime.now(UTC).timestamp() * 1e6)
    yield "files", _FILE, _files(files, now)
    yield "copies", _COPY, _copies(files, nodes, now)
    yield "usage", _USAGE, _usage(files)


def _files(files: int, now: int) -> Iterator[tuple[object, ...]]:
    for number in range(files):
        known_as = file_id(number, files)
        committed = now - (files - number) * 1_000_000
        yield (
            known_as,
            f"app-{number % _APPS}",
            "files",
            f"user-{number % _OWNERS}",
            f"file-{number}.iso",
            f"files/2026/01/02/03/file-{number}_{known_as[:8]}.iso",
            _size(number),
            hashlib.sha256(known_as.encode()).hexdigest(),
            committed,
            "committed",
            COPIES,
            COPIES,
            committed,
        )


def _usage(files: int) -> Iterator[tuple[object, ...]]:
    """What each owner of an app's has, and each app: of no owner."""
    stored: Counter[tuple[str, str]] = Counter()
    count: Counter[tuple[str, str]] = Counter()
    for number in range(files):
        app = f"app-{number % _APPS}"
        for key in ((app, f"user-{number % _OWNERS}"), (app, "")):
            stored[key] += _size(number)
            count[key] += 1
    for key in sorted(stored):
        yield (*key, stored[key], count[key], 0, 0)


def _copies(files: int, nodes: Sequence[str], now: int) -> Iterator[tuple[object, ...]]:
    for number in range(files):
        for node_id in _holders(number, nodes):
            yield file_id(number, files), node_id, node_id, "present", now


def _stored(files: int, nodes: Sequence[str]) -> list[tuple[int, str]]:
    """What each pool's counter has to rise by: bytes and pool."""
    stored: Counter[str] = Counter()
    for number in range(files):
        for node_id in _holders(number, nodes):
            stored[node_id] += _size(number)
    return [(size, node_id) for node_id, size in sorted(stored.items())]


def _inventories(files: int, nodes: Sequence[str]) -> list[tuple[str, str]]:
    """What each node's digest has to be: digest and node."""
    held: dict[str, list[str]] = {node_id: [] for node_id in nodes}
    for number in range(files):
        for node_id in _holders(number, nodes):
            held[node_id].append(file_id(number, files))
    return [(toggled(EMPTY, ids), node_id) for node_id, ids in sorted(held.items())]


def file_id(number: int, files: int) -> str:
    """Of one of so many files; they rise with the number."""
    return f"{number * _SPACE // files:032x}"


def _size(number: int) -> int:
    return (1 + number % 100) * MIB


def _holders(number: int, nodes: Sequence[str]) -> Sequence[str]:
    # Two different ones: a node and the one behind it, or the second behind it, and so on.
    further = 1 + number // len(nodes) % (len(nodes) - 1)
    return nodes[number % len(nodes)], nodes[(number + further) % len(nodes)]
