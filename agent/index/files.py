"""The node's index: one row per file, from the intent to commit it on.

A cache of the attribute files, with one exception: a PENDING row is the intent that lets a restart
finish or undo a commit that was cut short, so rows are written through to the disk.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from agent.index import removals
from agent.index.database import Database
from agent.problems import ProblemError
from portside.journal import request_id
from portside.tracing import current
from portside.wire import paths
from portside.wire.files import StoredFile


@dataclass(frozen=True, slots=True)
class Intent:
    """A commit that has begun: which staging file becomes which stored file, on whose request.

    `request_id` is None when a restart carries the commit out. `replicas` are the nodes that are to
    get a copy.
    """

    jti: str
    staging: str
    stored: StoredFile
    request_id: str | None = field(default_factory=request_id)
    replicas: tuple[str, ...] = ()
    upload_token: str | None = None
    """What the file came with: it lets others take their copies, and proves to a control plane that
    has forgotten the file that an issuer wanted it."""
    trace: str | None = field(default_factory=current.to_keep)
    """The span that it began in, as it is written down: a restart that carries it out goes on with
    it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Something to be told or sent about a committed file: what kind of thing, and to whom."""

    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class TokenUse:
    """What became of a token so far."""

    stored: StoredFile | None
    """The committed file that was uploaded with it."""
    spent: bool
    """Whether it, or its file's id, was used for a file, wherever that is now."""
    upload_begun: bool
    """Whether a resumable upload has begun with it and isn't gone."""


class FileIndex:
    """Rows of files, by id, token and path. Every change is durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_empty(self) -> bool:
        """Whether no file is known, committed or about to be."""
        return self._database.row("SELECT 1 FROM files LIMIT 1") is None

    def begin(self, intent: Intent) -> None:
        """Write the intent to commit, and the pushes that wait for it to be carried out.

        Raises ProblemError when its token or path is taken.
        """
        file_id = intent.stored.file_id
        try:
            with self._database.transaction() as connection:
                connection.execute(_INSERT, _row(intent.jti, "PENDING", intent))
                connection.execute("DELETE FROM departed WHERE file_id = ?", (file_id,))
                add_own_pushes(connection, file_id, intent.replicas, intent.upload_token)
                if intent.upload_token is not None:
                    # For a commit that is cut before the attributes have it.
                    connection.execute(_NOTE, (_PROOF_KEY + file_id, intent.upload_token))
                if intent.trace is not None:
                    connection.execute(_NOTE, (_TRACE_KEY + file_id, intent.trace))
        except sqlite3.IntegrityError as error:
            if "files.path" in str(error):
                raise name_taken(intent.stored.path) from None
            raise ProblemError("token-used", "this token's file is stored already") from None

    def commit(self, file_id: str, deliveries: Sequence[Delivery] = ()) -> None:
        """The file is in place: the intent is carried out, and what is to be told is noted down."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE files SET state = 'COMMITTED' WHERE file_id = ?", (file_id,))
            removals.drop(connection, file_id)
            _drop_notes(connection, file_id)
            # An upload that was sent in parts or at a stretch is at its end with its file.
            connection.execute(
                "UPDATE uploads SET state = 'COMPLETE', offset = length, hash_state = NULL "
                "WHERE state = 'OPEN' AND jti = (SELECT jti FROM files WHERE file_id = ?)",
                (file_id,),
            )
            add_deliveries(connection, file_id, deliveries)

    def roll_back(self, file_id: str) -> None:
        """Forget an intent that can't be carried out."""
        with self._database.transaction() as connection:
            undone = connection.execute(
                "DELETE FROM files WHERE file_id = ? AND state = 'PENDING'", (file_id,)
            )
            if undone.rowcount:
                connection.execute("DELETE FROM pushes WHERE file_id = ?", (file_id,))
                _drop_notes(connection, file_id)

    def restore(
        self,
        files: Sequence[tuple[str, StoredFile]],
        state: Literal["COMMITTED", "QUARANTINED", "ENDED", "DELETING", "DELETED"] = "COMMITTED",
    ) -> list[StoredFile]:
        """Add or correct the rows of files that are in `state`, given with their tokens' ids.

        Returns those whose id, token or path belongs to another row. Only rows of committed files
        are ever corrected, and only by what is committed.
        """
        clashes = []
        statement = _RESTORE if state == "COMMITTED" else _ADD_IF_MISSING
        with self._database.transaction() as connection:
            for jti, stored in files:
                try:
                    connection.execute(statement, _row(jti, state, Intent(jti, "", stored)))
                except sqlite3.IntegrityError:
                    clashes.append(stored)
        return clashes

    def remove_missing(self, exists: Callable[[str], bool]) -> int:
        """Remove the rows of committed files whose path doesn't exist; returns how many.

        Rows are gone through in batches: a commit waits for none but the removal itself.
        """
        removed = 0
        last = ""
        while True:
            rows = self._database.rows(
                "SELECT file_id, path FROM files WHERE state = 'COMMITTED' AND file_id > ? "
                "ORDER BY file_id LIMIT ?",
                (last, _BATCH),
            )
            if not rows:
                return removed
            last = rows[-1][0]
            gone = [(file_id,) for file_id, path in rows if not exists(path)]
            if gone:
                removed += self._remove_committed(gone)

    def _remove_committed(self, file_ids: Sequence[tuple[str]]) -> int:
        with self._database.transaction() as connection:
            return connection.executemany(
                "DELETE FROM files WHERE file_id = ? AND state = 'COMMITTED'", file_ids
            ).rowcount

    def forget_lost(self, file_id: str) -> None:
        """Remove the row of a committed file whose data is gone for good."""
        self._remove_committed([(file_id,)])

    def pending(self) -> list[Intent]:
        """Commits that have begun and not ended."""
        rows = self._database.rows(
            "SELECT jti, staging, stored, (SELECT json_group_array(target) FROM pushes "
            "WHERE pushes.file_id = files.file_id), "
            "(SELECT value FROM notes WHERE key = ? || files.file_id), "
            "(SELECT value FROM notes WHERE key = ? || files.file_id) FROM files "
            "WHERE state = 'PENDING' AND state != 'COMMITTED'",
            (_PROOF_KEY, _TRACE_KEY),
        )
        return [
            Intent(
                jti,
                staging,
                StoredFile.model_validate_json(text),
                replicas=tuple(json.loads(targets)),
                upload_token=proof,
                trace=trace,
            )
            for jti, staging, text, targets, proof, trace in rows
        ]

    def find(self, file_id: str) -> StoredFile | None:
        """The committed file with this id."""
        return self._stored(
            "SELECT stored FROM files WHERE file_id = ? AND state = 'COMMITTED'", file_id
        )

    def use_of(self, jti: str, file_id: str) -> TokenUse:
        """What became of a token that is for the file with this id, in one question."""
        row = self._database.row(_USE, {"jti": jti, "file_id": file_id})
        assert row is not None  # noqa: S101 (a SELECT without FROM has one row)
        stored, spent, begun = row
        return TokenUse(
            None if stored is None else stored_of(stored),
            bool(spent),
            bool(begun),
        )

    def is_pending(self, file_id: str) -> bool:
        """Whether a commit of this file has begun and not ended."""
        query = "SELECT 1 FROM files WHERE file_id = ? AND state = 'PENDING'"
        return self._database.row(query, (file_id,)) is not None

    def is_copy(self, file_id: str) -> bool:
        """Whether a file that is about to be committed came from another node."""
        query = (
            "SELECT 1 FROM uploads JOIN files USING (jti) WHERE file_id = ? "
            "AND uploads.state = 'OPEN' AND json_extract(details, '$.dialect') = 'replicate'"
        )
        return self._database.row(query, (file_id,)) is not None

    def path_taken(self, path: PurePosixPath) -> bool:
        """Whether a file is at this path or about to be."""
        query = (
            "SELECT 1 FROM files WHERE path = ? AND state IN ('PENDING', 'COMMITTED', 'DELETING')"
        )
        return self._database.row(query, (str(path),)) is not None

    def _stored(self, query: str, value: str) -> StoredFile | None:
        row = self._database.row(query, (value,))
        return stored_of(row[0]) if row else None


_PROOF_KEY = "proof:"
"""Of a commit under way: a note with this and the file's id for a key has what it came with."""

_TRACE_KEY = "trace:"
"""The same with the span that it began in."""

_NOTE = "INSERT OR REPLACE INTO notes VALUES (?, ?)"

_INSERT = "INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
_RESTORE = (
    f"{_INSERT} ON CONFLICT (file_id) DO UPDATE SET jti = excluded.jti, path = excluded.path, "
    "stored = excluded.stored, namespace = excluded.namespace, owner = excluded.owner, "
    "name = excluded.name, content_type = excluded.content_type, size = excluded.size, "
    "committed_at = excluded.committed_at WHERE state = 'COMMITTED' "
    "AND (files.stored != excluded.stored OR files.jti != excluded.jti)"
)
_ADD_IF_MISSING = f"{_INSERT} ON CONFLICT (file_id) DO NOTHING"
_BATCH = 1000
_USE = (
    "SELECT (SELECT stored FROM files WHERE jti = :jti AND state = 'COMMITTED'), "
    "EXISTS (SELECT 1 FROM files WHERE jti = :jti OR file_id = :file_id) "
    "OR EXISTS (SELECT 1 FROM departed WHERE jti = :jti OR file_id = :file_id), "
    "EXISTS (SELECT 1 FROM uploads WHERE jti = :jti AND state != 'GONE')"
)


def _row(jti: str, state: str, intent: Intent) -> tuple[object, ...]:
    stored = intent.stored
    return (
        stored.file_id,
        jti,
        str(stored.path),
        state,
        intent.staging,
        stored.model_dump_json(),
        stored.namespace,
        stored.owner,
        stored.name,
        stored.content_type,
        stored.size,
        microseconds(stored.committed_at),
    )


def _drop_notes(connection: sqlite3.Connection, file_id: str) -> None:
    """The commit of this file is over, either way."""
    connection.executemany(
        "DELETE FROM notes WHERE key = ?", [(_PROOF_KEY + file_id,), (_TRACE_KEY + file_id,)]
    )


def add_deliveries(
    connection: sqlite3.Connection, file_id: str, deliveries: Sequence[Delivery]
) -> None:
    """Note down what is to be told of a file that is in service now.

    One that was given up, perhaps because the file was in quarantine, begins anew. They belong to
    the span that is under way.
    """
    if not deliveries:
        return
    trace = current.to_keep()
    connection.executemany(
        "INSERT INTO deliveries (file_id, kind, target, state, due, trace) "
        "VALUES (?, ?, ?, 'WAITING', 0, ?) "
        "ON CONFLICT (file_id, kind, target) DO UPDATE SET state = 'WAITING', attempts = 0, "
        "due = 0, error = '', trace = excluded.trace WHERE state = 'DEAD'",
        [(file_id, each.kind, each.target, trace) for each in deliveries],
    )


def add_own_pushes(
    connection: sqlite3.Connection,
    file_id: str,
    targets: Sequence[str],
    proof: str | None,
    again: bool = False,
) -> None:
    """Note down the copies that this node is to make of a file; `again`: those it has no word of.

    What is noted down already stays as it is.
    """
    now = int(time.time())
    for target in targets:
        if (
            again
            and connection.execute(
                "SELECT 1 FROM copies WHERE file_id = ? AND node_id = ?", (file_id, target)
            ).fetchone()
        ):
            continue
        connection.execute(
            "INSERT INTO pushes (file_id, target, own, state, due, ordered_at, proof, trace) "
            "VALUES (?, ?, 1, 'WAITING', ?, ?, ?, ?) "
            "ON CONFLICT (file_id, target) DO UPDATE SET own = 1, "
            "proof = coalesce(proof, excluded.proof), trace = coalesce(trace, excluded.trace)",
            (file_id, target, now, now, proof, current.to_keep()),
        )


def stored_of(text: str) -> StoredFile:
    """A row's file. One from before there were lasting URLs gets its node's own."""
    stored = StoredFile.model_validate_json(text)
    if stored.url != stored.direct_url:
        return stored
    base = stored.direct_url.partition(f"{paths.DIRECT}/")[0]
    url = paths.lasting_url(base, stored.file_id, stored.name)
    return stored.model_copy(update={"url": url})


def microseconds(moment: datetime) -> int:
    """A moment as the index keeps it: whole microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def name_taken(path: PurePosixPath) -> ProblemError:
    """The one answer to a name that is there already."""
    return ProblemError("name-taken", f"{path} exists on this node: choose another name")
