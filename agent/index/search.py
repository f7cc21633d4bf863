"""What the index knows of files: one by its id, many by a query, page by page.

Pages go from the newest file to the oldest. A cursor names the last file of a page and the next
page begins behind it: whatever is added or deleted meanwhile, no file is listed twice and none that
was there all the time is left out.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.index.database import Database
from agent.index.files import microseconds, stored_of
from agent.problems import ProblemError
from portside import base64url
from portside.wire.files import Copy, FilePage, FileQuery, FileWithCopies, StoredFile

_CURSOR = re.compile(r"(-?\d{1,18})\.([0-9a-f]{32})", re.ASCII)

State = str
"""A row's state, as `agent.index.schema` lists them."""


@dataclass(frozen=True, slots=True)
class Known:
    """A file that is on the node or was, and its row's state."""

    state: State
    stored: StoredFile


@dataclass(frozen=True, slots=True)
class Position:
    """A file's place in the order of listings."""

    committed_at: int
    file_id: str

    def cursor(self) -> str:
        """The position as clients carry it around: opaque, safe in a URL."""
        text = f"{self.committed_at}.{self.file_id}"
        return base64url.encode(text.encode())

    @classmethod
    def from_cursor(cls, cursor: str) -> Position:
        """Read what `cursor` wrote. Raises ProblemError for anything else."""
        try:
            text = base64url.decode(cursor).decode()
        except ValueError:
            text = ""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise ProblemError(
                "malformed-request", "cursor: give the 'next' of the page before as it was"
            )
        return cls(int(match[1]), match[2])


def look_up(database: Database, file_id: str) -> Known | None:
    """The file with this id, unless it was never committed."""
    row = database.row(
        "SELECT state, stored FROM files WHERE file_id = ? AND state != 'PENDING'", (file_id,)
    )
    return None if row is None else Known(row[0], stored_of(row[1]))


def look_up_path(database: Database, path: str) -> StoredFile | None:
    """The committed file at this path."""
    # SQLite takes the index of paths only where its condition stands in the query word for word.
    row = database.row(
        "SELECT stored FROM files WHERE path = ? "
        "AND state IN ('PENDING', 'COMMITTED', 'DELETING') AND state = 'COMMITTED'",
        (path,),
    )
    return None if row is None else stored_of(row[0])


def search(database: Database, query: FileQuery, file_id: str | None = None) -> FilePage:
    """A page of the committed files that fit; with `file_id` that one at most.

    Raises ProblemError for a cursor that is none.
    """
    conditions, values = _conditions(query)
    if file_id is not None:
        conditions.append("file_id = ?")
        values.append(file_id)
    rows = database.rows(
        f"SELECT stored, committed_at, file_id FROM files WHERE {' AND '.join(conditions)} "  # noqa: S608 (fixed texts, values are bound)
        "ORDER BY committed_at DESC, file_id DESC LIMIT ?",
        # One more tells whether there is a next page.
        (*values, query.limit + 1),
    )
    page = rows[: query.limit]
    last = Position(page[-1][1], page[-1][2]) if len(rows) > len(page) else None
    return FilePage(
        files=tuple(stored_of(text) for text, _, _ in page),
        next=None if last is None else last.cursor(),
    )


def _conditions(query: FileQuery) -> tuple[list[str], list[object]]:
    """The query in SQL: conditions with a value for each `?` in them."""
    conditions: list[str] = ["state = 'COMMITTED'"]
    values: list[object] = []

    def add(condition: str, *wanted: object) -> None:
        conditions.append(condition)
        values.extend(wanted)

    if query.namespace is not None:
        add("namespace = ?", query.namespace)
    if query.owner is not None:
        add("owner = ?", query.owner)
    if query.name is not None:
        # Names are stored composed (portside.names).
        add("name LIKE ? ESCAPE '!'", f"%{_literal(unicodedata.normalize('NFC', query.name))}%")
    if query.content_type is not None and query.content_type.endswith("/*"):
        add("content_type LIKE ? ESCAPE '!'", f"{_literal(query.content_type[:-1])}%")
    elif query.content_type is not None:
        add("content_type = ?", query.content_type)
    if query.committed_after is not None:
        add("committed_at > ?", microseconds(query.committed_after))
    if query.committed_before is not None:
        add("committed_at < ?", microseconds(query.committed_before))
    if query.cursor is not None:
        position = Position.from_cursor(query.cursor)
        add("(committed_at, file_id) < (?, ?)", position.committed_at, position.file_id)
    return conditions, values


def _literal(text: str) -> str:
    """`text` with what LIKE would take for wildcards escaped by `!`."""
    return re.sub(r"([!%_])", r"!\1", text)


def copies_of(database: Database, file_id: str) -> tuple[Copy, ...]:
    """The copies that this node has made of a file, the oldest first."""
    rows = database.rows(
        "SELECT node_id, receipt, confirmed_at FROM copies WHERE file_id = ? "
        "ORDER BY confirmed_at, node_id",
        (file_id,),
    )
    return tuple(
        Copy(node_id=node_id, receipt=receipt, confirmed_at=datetime.fromtimestamp(at, UTC))
        for node_id, receipt, at in rows
    )


def with_copies(database: Database, stored: StoredFile) -> FileWithCopies:
    """The file and where else it is."""
    return FileWithCopies(**dict(stored), copies=copies_of(database, stored.file_id))
