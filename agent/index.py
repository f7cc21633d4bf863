"""The node's index: one SQLite row per file, from the intent to commit it on.

A cache of the attribute files, with one exception: a PENDING row is the intent that lets a restart
finish or undo a commit that was cut short, so rows are written through to the disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from agent.problems import ProblemError
from portside.wire import StoredFile

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    file_id TEXT PRIMARY KEY,
    jti TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('PENDING', 'COMMITTED')),
    staging TEXT NOT NULL,
    stored TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True)
class Intent:
    """A commit that has begun: which staging file becomes which stored file."""

    jti: str
    staging: str
    stored: StoredFile


class Index:
    """Rows of files, by id, token and path. Thread-safe; every change is durable on return."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, timeout=30)
        # WAL lets a second process (draining, or the worker) read while this one writes; FULL syncs
        # the log at every commit.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction() as connection:
            connection.execute(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def is_empty(self) -> bool:
        """Whether no file is known, committed or about to be."""
        with self._lock:
            return self._connection.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None

    def begin(self, intent: Intent) -> None:
        """Write the intent to commit. Raises ProblemError when its token or path is taken."""
        try:
            with self._transaction() as connection:
                connection.execute(
                    "INSERT INTO files VALUES (?, ?, ?, 'PENDING', ?, ?)",
                    (
                        intent.stored.file_id,
                        intent.jti,
                        str(intent.stored.path),
                        intent.staging,
                        intent.stored.model_dump_json(),
                    ),
                )
        except sqlite3.IntegrityError as error:
            if "files.path" in str(error):
                raise name_taken(intent.stored.path) from None
            raise ProblemError("token-used", "this token's file is stored already") from None

    def commit(self, file_id: str) -> None:
        """The file is in place: the intent is carried out."""
        with self._transaction() as connection:
            connection.execute("UPDATE files SET state = 'COMMITTED' WHERE file_id = ?", (file_id,))

    def roll_back(self, file_id: str) -> None:
        """Forget an intent that can't be carried out."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM files WHERE file_id = ? AND state = 'PENDING'", (file_id,)
            )

    def restore(self, files: Sequence[tuple[str, StoredFile]]) -> list[StoredFile]:
        """Add or correct the rows of committed files, given with their tokens' ids.

        Returns those whose id, token or path belongs to another row. A PENDING row is left alone.
        """
        clashes = []
        with self._transaction() as connection:
            for jti, stored in files:
                try:
                    connection.execute(
                        "INSERT INTO files VALUES (?, ?, ?, 'COMMITTED', '', ?) "
                        "ON CONFLICT (file_id) DO UPDATE "
                        "SET jti = excluded.jti, path = excluded.path, stored = excluded.stored "
                        "WHERE state = 'COMMITTED'",
                        (stored.file_id, jti, str(stored.path), stored.model_dump_json()),
                    )
                except sqlite3.IntegrityError:
                    clashes.append(stored)
        return clashes

    def remove_missing(self, exists: Callable[[str], bool]) -> int:
        """Remove the rows of committed files whose path doesn't exist; returns how many."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT file_id, path FROM files WHERE state = 'COMMITTED'")
            gone = [(file_id,) for file_id, path in rows if not exists(path)]
            connection.executemany("DELETE FROM files WHERE file_id = ?", gone)
        return len(gone)

    def pending(self) -> list[Intent]:
        """Commits that have begun and not ended."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT jti, staging, stored FROM files WHERE state = 'PENDING'"
            ).fetchall()
        return [
            Intent(jti, staging, StoredFile.model_validate_json(text))
            for jti, staging, text in rows
        ]

    def find(self, file_id: str) -> StoredFile | None:
        """The committed file with this id."""
        return self._stored(
            "SELECT stored FROM files WHERE file_id = ? AND state = 'COMMITTED'", file_id
        )

    def find_by_token(self, jti: str) -> StoredFile | None:
        """The committed file that was uploaded with this token."""
        return self._stored("SELECT stored FROM files WHERE jti = ? AND state = 'COMMITTED'", jti)

    def path_taken(self, path: PurePosixPath) -> bool:
        """Whether a file is at this path or about to be."""
        with self._lock:
            found = self._connection.execute(
                "SELECT 1 FROM files WHERE path = ?", (str(path),)
            ).fetchone()
        return found is not None

    def _stored(self, query: str, value: str) -> StoredFile | None:
        with self._lock:
            row = self._connection.execute(query, (value,)).fetchone()
        return StoredFile.model_validate_json(row[0]) if row else None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._connection:
            yield self._connection


def name_taken(path: PurePosixPath) -> ProblemError:
    """The one answer to a name that is there already."""
    return ProblemError("name-taken", f"{path} exists on this node: choose another name")
