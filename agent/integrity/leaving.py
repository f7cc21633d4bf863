"""What would go with a node: everything on it by its index and its disk, and what it still owes.

A row's word isn't enough, for an index that was lost and rebuilt half knows half; nor is the disk's
alone, for what is in quarantine has no place among the others. Changes nothing, beside a working
agent or without one.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence

from agent.host.tree import Folder, walk
from agent.index.database import Database
from agent.index.uploads import UploadIndex
from agent.integrity import inspection
from agent.integrity.diagnosis import Row
from agent.integrity.kept import entries
from agent.outbox.cold_orders import KINDS as COLD_KINDS
from agent.outbox.events import HOOK_KINDS
from agent.settings import Settings
from agent.storage.attributes import Attributes
from portside.names import ATTRIBUTES_SUFFIX
from portside.wire.inventory import MOST_ODD, Kept, LeavingFile, LeavingPage, Owed

_BATCH = 500

# In the words of the partial index of paths (`agent.index.schema`).
_IN_SERVICE = (
    "SELECT path FROM files WHERE path IN (SELECT value FROM json_each(?)) "
    "AND state IN ('PENDING', 'COMMITTED', 'DELETING')"
)


def page(settings: Settings, database: Database, after: str | None, limit: int) -> LeavingPage:
    """A page of what is here; without `after` the first, with all that has no row in service.

    Raises OSError, sqlite3.Error.
    """
    rows = _in_service(database, after or "", limit)
    files = [_of_row(each) for each in rows]
    odd: list[LeavingFile] = []
    owed: tuple[Owed, ...] = ()
    ended = stored = 0
    if after is None:
        odd = [*_quarantined(settings, database), *_without_rows(settings, database)]
        owed = tuple(_owed(database))
        stored = _count(database, "SELECT count(*) FROM files WHERE state = 'COMMITTED'")
        ended = _count(
            database,
            "SELECT count(*) FROM files WHERE state = 'ENDED' AND state != 'COMMITTED'",
        )
    return LeavingPage(
        node_id=settings.node_id,
        files=(*odd[:MOST_ODD], *files),
        odd=len(odd),
        owed=owed,
        stored=stored,
        ended=ended,
        next=rows[-1].file_id if len(rows) == limit else None,
    )


def _in_service(database: Database, after: str, limit: int) -> list[Row]:
    """Files that are committed or about to be, in order of ids. What is being deleted is wanted
    nowhere."""
    found = [
        row
        for state in ("COMMITTED", "PENDING")
        for row in inspection.rows_in(database, state, after, limit)
    ]
    return sorted(found, key=lambda row: row.file_id)[:limit]


def _of_row(row: Row) -> LeavingFile:
    return _described("stored", row.attributes())


def _described(kept: Kept, file: Attributes) -> LeavingFile:
    return LeavingFile(
        kept=kept, path=file.path, size=file.size, file_id=file.file_id, sha256=file.sha256
    )


def _quarantined(settings: Settings, database: Database) -> Iterator[LeavingFile]:
    for entry in entries(settings, database):
        if entry.kept_as == "left-over":
            # A good copy came, and is in service here.
            continue
        if entry.attributes is not None:
            yield _described("quarantined", entry.attributes)
        elif entry.kept_bytes is not None:
            yield LeavingFile(
                kept="quarantined", path=_printable(entry.kept_id), size=entry.kept_bytes
            )


def _without_rows(settings: Settings, database: Database) -> Iterator[LeavingFile]:
    """Data below `uploads` that no row stands for."""
    batch: list[str] = []
    for found in walk(settings.uploads):
        if isinstance(found, Folder) or found.name.endswith(ATTRIBUTES_SUFFIX):
            continue
        batch.append(os.path.relpath(found.path, settings.uploads))
        if len(batch) == _BATCH:
            yield from _unknown(settings, database, batch)
            batch = []
    yield from _unknown(settings, database, batch)


def _unknown(settings: Settings, database: Database, batch: Sequence[str]) -> Iterator[LeavingFile]:
    # Names that are no UTF-8 are in no row.
    asked = [each for each in batch if _is_text(each)]
    known = {path for (path,) in database.rows(_IN_SERVICE, (json.dumps(asked),))}
    for path in batch:
        if path in known:
            continue
        data = settings.uploads / path
        size = inspection.size_of(data)
        if size is None:
            # Gone meanwhile, or no regular file: a link, a pipe.
            continue
        beside = inspection.attributes_at(data.with_name(data.name + ATTRIBUTES_SUFFIX))
        if isinstance(beside, Attributes) and beside.deleted_at is None:
            yield _described("unindexed", beside)
        else:
            yield LeavingFile(kept="unindexed", path=_printable(path), size=size)


def _owed(database: Database) -> Iterator[Owed]:
    """Uploads under way, copies and deliveries that are not made."""
    going = [each for each in UploadIndex(database).open_uploads() if not each.is_over]
    if going:
        ends = time.strftime(
            "%Y-%m-%dT%H:%M:%SZ", time.gmtime(max(each.deadline for each in going))
        )
        yield Owed(
            what="uploads under way",
            count=len(going),
            remedy=f"they end by {ends}: wait, or have their clients end them",
        )
    pushes = _count(database, "SELECT count(*) FROM pushes")
    if pushes:
        yield Owed(
            what="copies to other nodes that are not made",
            count=pushes,
            remedy="`portside-agent pushes list` there says why; `retry` or `drop` them",
        )
    rows = database.rows("SELECT kind, count(*) FROM deliveries GROUP BY kind")
    for what, kinds, remedy in _DELIVERIES:
        count = sum(n for kind, n in rows if kind in kinds)
        if count:
            yield Owed(what=what, count=count, remedy=remedy)
    known = {kind for _, kinds, _ in _DELIVERIES for kind in kinds}
    others = sum(n for kind, n in rows if kind not in known)
    if others:
        yield Owed(
            what="things not told to the control plane",
            count=others,
            remedy=_LISTED,
        )


_LISTED = "`portside-agent deliveries list` there says why; `retry` or `drop` them"

_DELIVERIES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("hooks that were not told", tuple(HOOK_KINDS), _LISTED),
    (
        "files and deletions not brought to the cold tier",
        tuple(COLD_KINDS),
        "`portside-agent cold list` there says why; `portside-agent deliveries retry` or `drop`",
    ),
)


def _count(database: Database, query: str) -> int:
    row = database.row(query)
    return 0 if row is None else int(row[0])


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    """A name that anybody may have put there, as a message can hold it."""
    text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in path)
    return text if len(text) <= 1000 else f"{text[:1000]}..."
