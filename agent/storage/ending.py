"""Files whose time is over: out of nginx's reach at once, their bytes kept for the grace.

The row says ENDED first, so that a cut at any point is gone on with (`ended.moved` is 0 until the
names are on disk). Data and attributes lie in `ended/` then, by their file's id, and the old name
is free. The way back is that from the quarantine (`agent.storage.quarantine.put_back`). What nobody
takes back is deleted as any file is (`agent.storage.deletion`), tombstone and all.

Many end at a time: rows change in one transaction a batch, and each folder is synced once.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import structlog

from agent.host import filesystem
from agent.host.directories import make_directories
from agent.index.database import Database
from agent.index.files import add_deliveries
from agent.outbox import cold_orders
from agent.outbox.events import deliveries_for
from agent.settings import Settings
from agent.storage.attributes import Attributes, as_told_last
from agent.storage.attributes import write as write_attributes
from agent.storage.quarantine import Kept, ended, move_out, put_back
from agent.storage.reserve import Reserve
from agent.storage.staging import translated
from portside.cluster.lifetimes import has_ended
from portside.names import attributes_path
from portside.wire.files import StoredFile

_log = structlog.get_logger()

_END = "CASE WHEN json_valid(stored) THEN json_extract(stored, '$.expires_at') END"
"""Word for word as in the index `files_by_end`."""


def end_due(settings: Settings, database: Database, now: int, most: int) -> int:
    """Take at most `most` files out of service whose moment has come, those first that are longest
    over; returns how many. Raises DiskFull, DiskFailed or sqlite3.Error: what is left goes on at
    the next call.
    """
    # Asked again and again, and mostly there is none: nobody's transaction waits for that.
    if database.row(f"SELECT 1 FROM files WHERE {_due()} LIMIT 1", (now,)) is None:  # noqa: S608
        return 0
    reserve = Reserve(settings)
    file_ids = reserve.spend(lambda: _mark(settings, database, now, most))
    move(settings, database, file_ids)
    _log.info("files ended", files=len(file_ids))
    return len(file_ids)


def _due() -> str:
    return f"state = 'COMMITTED' AND {_END} <= ?"


def _mark(settings: Settings, database: Database, now: int, most: int) -> list[str]:
    with database.transaction() as connection:
        rows = connection.execute(
            f"UPDATE files SET state = 'ENDED' WHERE file_id IN (SELECT file_id FROM files "  # noqa: S608 (our own texts)
            f"WHERE {_due()} ORDER BY {_END} LIMIT ?) RETURNING file_id, namespace",
            (now, most),
        ).fetchall()
        for file_id, namespace in rows:
            # Caches are to let go of it now, not when its bytes go.
            told = deliveries_for(settings.hooks, namespace, "deleted")
            add_deliveries(connection, file_id, told)
    return [file_id for file_id, _ in rows]


def finish_endings(settings: Settings, database: Database, most: int = 200) -> int:
    """Go on with what a crash cut short; returns how many files that were, `most` at a time."""
    rows = database.rows("SELECT file_id FROM ended WHERE moved = 0 LIMIT ?", (most,))
    move(settings, database, [file_id for (file_id,) in rows])
    return len(rows)


def move(settings: Settings, database: Database, file_ids: Sequence[str]) -> None:
    """Bring what lies in its old place of these ended files to `ended/`; others are left alone.

    The index is held for one file at a time, and each folder is synced once, when all are moved.
    Raises DiskFull, DiskFailed or sqlite3.Error.
    """
    if not file_ids:
        return
    reserve = Reserve(settings)
    folders: set[Path] = set()
    for file_id in file_ids:
        folders |= reserve.spend(partial(_moved, settings, database, file_id))
    disk = filesystem.of(settings.root)
    try:
        for folder in sorted(folders):
            disk.sync_directory(folder)
    except OSError as error:
        raise translated(error, "moving ended files") from error
    if folders:
        reserve.spend(lambda: _note_moved(database, file_ids))


def _moved(settings: Settings, database: Database, file_id: str) -> set[Path]:
    """Move one file; the folders that are to be synced, none where no such file has ended."""
    kept = ended(settings, file_id)
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT path FROM ended JOIN files USING (file_id) WHERE file_id = ? AND moved = 0",
            (file_id,),
        ).fetchone()
        if row is None:
            return set()
        try:
            disk = filesystem.of(settings.root)
            make_directories(disk, settings.ended, PurePosixPath(file_id[:2]), 0o700)
        except OSError as error:
            raise translated(error, f"making {kept.data.parent}") from error
        move_out(settings, connection, file_id, "ENDED", kept)
    # Also of one that an earlier process moved: it may not have come to the sync.
    return {
        each for each in (kept.data.parent, (settings.uploads / row[0]).parent) if each.is_dir()
    }


def _note_moved(database: Database, file_ids: Iterable[str]) -> None:
    with database.transaction() as connection:
        connection.executemany(
            "UPDATE ended SET moved = 1 WHERE file_id = ? AND moved = 0",
            [(each,) for each in file_ids],
        )


def change(
    settings: Settings, database: Database, file_id: str, expires_at: int | None
) -> StoredFile | None:
    """Have a file end at `expires_at` (Unix seconds), or not at all; durable on return.

    One that ended comes back when that moment lies ahead. None when there is no such file here, or
    it was deleted. Raises FileExistsError when the name of one that is to come back was given
    again, and as `move`; nothing has changed then.
    """
    move(settings, database, (file_id,))
    return Reserve(settings).spend(lambda: _change(settings, database, file_id, expires_at))


def _change(
    settings: Settings, database: Database, file_id: str, expires_at: int | None
) -> StoredFile | None:
    with database.transaction() as connection:
        row = connection.execute(
            "SELECT state, jti, stored FROM files WHERE file_id = ? "
            "AND state IN ('COMMITTED', 'QUARANTINED', 'ENDED')",
            (file_id,),
        ).fetchone()
        if row is None:
            return None
        state, jti, text = row
        before = StoredFile.model_validate_json(text)
        place = _attributes_of(settings, state, before)
        found = as_told_last(place, before, jti)
        changed = found.model_copy(update={"expires_at": expires_at})
        cold_orders.file_changed(connection, settings.cold, file_id, changed.namespace)
        if not (state == "ENDED" and not has_ended(expires_at, time.time())):
            _write(settings, connection, place, changed)
            return changed.stored()
        # A way back that is cut short may leave it in its old place: then it is moved once more.
        connection.execute("UPDATE ended SET moved = 0 WHERE file_id = ?", (file_id,))
    try:
        return put_back(settings, database, changed, state="ENDED")
    except FileNotFoundError:
        # Deleted in between.
        return None


def _attributes_of(settings: Settings, state: str, stored: StoredFile) -> Path:
    if state == "COMMITTED":
        return settings.uploads / attributes_path(stored.path)
    kept = Kept.of(settings, stored.file_id) if state == "QUARANTINED" else None
    return (kept or ended(settings, stored.file_id)).attributes


def _write(
    settings: Settings, connection: sqlite3.Connection, place: Path, changed: Attributes
) -> None:
    """Attributes first: an index that is rebuilt from them has what was promised."""
    try:
        write_attributes(settings, place, changed)
    except OSError as error:
        raise translated(error, f"writing {place.name}") from error
    connection.execute(
        "UPDATE files SET stored = ? WHERE file_id = ?",
        (changed.stored().model_dump_json(), changed.file_id),
    )


def take_back_early(settings: Settings, database: Database, now: int, most: int) -> int:
    """Bring back files that a clock which was ahead has ended before their time; how many."""
    rows = database.rows(
        f"SELECT file_id, stored FROM files WHERE state = 'ENDED' AND {_END} > ? LIMIT ?",  # noqa: S608 (our own texts)
        (now, most),
    )
    for file_id, text in rows:
        try:
            change(settings, database, file_id, StoredFile.model_validate_json(text).expires_at)
        except FileExistsError as taken:
            _log.warning(
                "file ended too early and can't come back", file_id=file_id, why=str(taken)
            )
    return len(rows)


def grace_is_over(database: Database, lived: int, most: int) -> list[str]:
    """Files that ended when this node had lived for at most `lived` seconds, the oldest first."""
    rows = database.rows(
        "SELECT file_id FROM ended WHERE moved = 1 AND lived <= ? ORDER BY lived, file_id LIMIT ?",
        (lived, most),
    )
    return [file_id for (file_id,) in rows]
