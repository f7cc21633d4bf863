"""What the cold tier has to do and has done: rows of deliveries, and notes. No network.

Which rows there are is said in `agent.outbox.cold_orders`. Notes: `cold-upload:<file id>` is a
multipart upload under way, and `cold-part:<file id>:<number>` each part of it that is stored.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from agent.cold.bucket import SentPart
from agent.cold.said import Said
from agent.host.sha256 import Sha256
from agent.index.database import Database
from agent.index.files import Delivery, add_deliveries, stored_of
from agent.outbox.cold_orders import BACKUP, CHANGE, KINDS, STORED, order_removal
from agent.settings import Cold
from portside.wire.files import StoredFile

_SAID = "tier-told:"
"""What the key of the note begins with that a tier was told of what older releases didn't."""

_UPLOAD = "cold-upload:"
_PART = "cold-part:"

_BATCH = 500
"""Files per query or transaction: commits wait no longer than one takes."""


class UploadNote(BaseModel):
    """A multipart upload under way: how many parts are stored, and the digest of their bytes."""

    model_config = ConfigDict(frozen=True)

    address: str
    upload_id: str
    part_size: int = Field(gt=0)
    done: int = Field(default=0, ge=0)
    state: str
    """As `Sha256.state` gives it, in base64."""

    @field_validator("state")
    @classmethod
    def _is_a_state(cls, value: str) -> str:
        Sha256.from_state(base64.b64decode(value, validate=True))
        return value

    def digest(self) -> Sha256:
        """The digest of the parts that are stored."""
        return Sha256.from_state(base64.b64decode(self.state))


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what was given up. Bytes; `oldest` is a commit's microseconds since 1970."""

    waiting: int = 0
    waiting_bytes: int = 0
    dead: int = 0
    oldest: int | None = None


class ColdQueue:
    """Rows and notes of one node's cold tier. Every change is durable on return."""

    def __init__(self, database: Database, cold: Cold) -> None:
        self._database = database
        self._cold = cold

    def stored(self, file_id: str, address: str, now: int) -> None:
        """A file's object is there: its row goes, and what a multipart upload had noted."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT state FROM files WHERE file_id = ?", (file_id,)
            ).fetchone()
            if row is not None and row[0] == "DELETED":
                order_removal(connection, self._cold, file_id, address, now)
            elif row is not None:
                connection.execute(
                    "INSERT INTO notes VALUES (?, ?) "
                    "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    (STORED + file_id, address),
                )
            connection.execute(
                "DELETE FROM deliveries WHERE file_id = ? AND kind = ? AND target = ?",
                (file_id, BACKUP, self._cold.target),
            )
            _forget_upload(connection, file_id)

    def address(self, file_id: str) -> str | None:
        """Where a file's object is, as far as this node knows."""
        return self._database.note(STORED + file_id)

    def upload(self, file_id: str) -> tuple[UploadNote, list[SentPart]] | None:
        """The multipart upload that is under way, and its stored parts in order."""
        note = self._database.note(_UPLOAD + file_id)
        try:
            found = None if note is None else UploadNote.model_validate_json(note)
        except (ValidationError, ValueError):
            found = None
        if found is None:
            return None
        rows = self._database.rows(
            "SELECT value FROM notes WHERE key > ? AND key < ? ORDER BY key LIMIT ?",
            (f"{_PART}{file_id}:", f"{_PART}{file_id};", found.done),
        )
        return found, [SentPart(*value.split()) for (value,) in rows]

    def progressed(self, file_id: str, upload: UploadNote, part: SentPart | None = None) -> None:
        """A multipart upload began, or its next part is stored."""
        with self._database.transaction() as connection:
            notes = [(_UPLOAD + file_id, upload.model_dump_json())]
            if part is None:
                _forget_upload(connection, file_id)
            else:
                number = f"{upload.done:05}"
                notes.append((f"{_PART}{file_id}:{number}", f"{part.etag} {part.sha256}"))
            connection.executemany(
                "INSERT INTO notes VALUES (?, ?) "
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                notes,
            )

    def forget_upload(self, file_id: str) -> None:
        """A multipart upload is at its end."""
        with self._database.transaction() as connection:
            _forget_upload(connection, file_id)

    def uploads_without_row(self) -> list[str]:
        """Files whose multipart upload nothing will go on with."""
        rows = self._database.rows(
            "SELECT substr(key, ?) FROM notes WHERE key > ? AND key < ? AND NOT EXISTS "
            "(SELECT 1 FROM deliveries WHERE kind = ? AND file_id = substr(key, ?))",
            (len(_UPLOAD) + 1, _UPLOAD, _after(_UPLOAD), BACKUP, len(_UPLOAD) + 1),
        )
        return [file_id for (file_id,) in rows]

    def look_again(self, file_id: str) -> None:
        """Let the scrubber read a file next: its bytes gave another digest."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE files SET verified_at = NULL WHERE file_id = ? AND state = 'COMMITTED'",
                (file_id,),
            )

    def backlog(self) -> Backlog:
        """What is still to be backed up."""
        waiting, size, oldest = self._database.rows(
            "SELECT count(*), coalesce(sum(files.size), 0), min(files.committed_at) "
            "FROM deliveries LEFT JOIN files USING (file_id) "
            "WHERE kind = ? AND deliveries.state = 'WAITING'",
            (BACKUP,),
        )[0]
        ((dead,),) = self._database.rows(
            "SELECT count(*) FROM deliveries WHERE state = 'DEAD' AND kind IN (?, ?, ?, ?)", KINDS
        )
        return Backlog(waiting, size, dead, oldest)

    def stored_files(self) -> int:
        """Files whose object is in the tier."""
        ((count,),) = self._database.rows(
            "SELECT count(*) FROM notes WHERE key > ? AND key < ? "
            "AND substr(value, 1, length(?)) = ?",
            (STORED, _after(STORED), self._cold.target, self._cold.target),
        )
        return int(count)

    def order_missing(self, beat: Callable[[], None]) -> int:
        """Rows for committed files that have neither an object nor a row: returns how many.

        Files that were there before the tier was, or whose rows were lost with the index.
        """
        ordered = 0
        for batch in self._batches(
            "SELECT file_id, namespace FROM files WHERE state = 'COMMITTED' AND file_id > ? "
            "AND NOT EXISTS (SELECT 1 FROM notes WHERE key = ? || file_id "
            "AND substr(value, 1, length(?)) = ?) AND NOT EXISTS (SELECT 1 FROM deliveries "
            "WHERE deliveries.file_id = files.file_id AND kind = ? AND target = ?) "
            "ORDER BY file_id LIMIT ?",
            "",
            (STORED, self._cold.target, self._cold.target, BACKUP, self._cold.target),
        ):
            beat()
            wanted = [file_id for file_id, namespace in batch if self._cold.takes(namespace)]
            with self._database.transaction() as connection:
                connection.executemany(
                    "INSERT OR IGNORE INTO deliveries (file_id, kind, target, state, due) "
                    "VALUES (?, ?, ?, 'WAITING', 0)",
                    [(file_id, BACKUP, self._cold.target) for file_id in wanted],
                )
            ordered += len(wanted)
        return ordered

    def said(self, number: int, stored: StoredFile) -> None:
        """The tier knows of a file what `stored` says; its row goes unless more was said since."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT stored FROM files WHERE file_id = ?", (stored.file_id,)
            ).fetchone()
            if row is None or Said.of(stored_of(row[0])) == Said.of(stored):
                connection.execute("DELETE FROM deliveries WHERE delivery_id = ?", (number,))

    def order_to_say(self, file_id: str) -> None:
        """The tier knows something else of a file than this node does: it is to be told."""
        with self._database.transaction() as connection:
            add_deliveries(connection, file_id, [Delivery(CHANGE, self._cold.target)])

    def order_unsaid(self, beat: Callable[[], None]) -> int:
        """Rows for files that end or are held and were backed up by a release that didn't tell:
        once for each tier. Returns how many.
        """
        if self._database.note(_SAID + self._cold.target) is not None:
            return 0
        ordered = 0
        for batch in self._batches(
            "SELECT file_id FROM files WHERE file_id > ? "
            "AND state IN ('COMMITTED', 'QUARANTINED', 'ENDED') AND json_valid(stored) "
            "AND (json_extract(stored, '$.expires_at') IS NOT NULL "
            "OR json_extract(stored, '$.hold') IS NOT NULL OR json_extract(stored, '$.held')) "
            "AND EXISTS (SELECT 1 FROM notes WHERE key = ? || file_id) ORDER BY file_id LIMIT ?",
            "",
            (STORED,),
        ):
            beat()
            with self._database.transaction() as connection:
                for (file_id,) in batch:
                    add_deliveries(connection, file_id, [Delivery(CHANGE, self._cold.target)])
            ordered += len(batch)
        self._database.take_note(_SAID + self._cold.target, "")
        return ordered

    def forget_missing(self, beat: Callable[[], None]) -> None:
        """Drop the notes of files that this node knows no more."""
        for batch in self._batches(
            "SELECT key FROM notes WHERE key > ? AND key < ? AND NOT EXISTS "
            "(SELECT 1 FROM files WHERE file_id = substr(key, ?)) ORDER BY key LIMIT ?",
            STORED,
            (_after(STORED), len(STORED) + 1),
        ):
            beat()
            with self._database.transaction() as connection:
                connection.executemany("DELETE FROM notes WHERE key = ?", batch)

    def _batches(
        self, query: str, first: str, rest: Sequence[object]
    ) -> Iterator[list[tuple[str, ...]]]:
        """A query's rows in batches, begun behind the last one's first column."""
        last = first
        while batch := self._database.rows(query, (last, *rest, _BATCH)):
            yield batch
            last = batch[-1][0]


def _forget_upload(connection: sqlite3.Connection, file_id: str) -> None:
    connection.execute(
        "DELETE FROM notes WHERE key = ? OR (key > ? AND key < ?)",
        (_UPLOAD + file_id, f"{_PART}{file_id}:", f"{_PART}{file_id};"),
    )


def _after(prefix: str) -> str:
    """The first key behind all those that begin with a prefix ending in a colon."""
    return prefix.removesuffix(":") + ";"
