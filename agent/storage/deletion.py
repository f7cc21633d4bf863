"""Deleting a stored file: its place in every listing first, then its bytes.

The row says DELETING before anything is touched, so that a cut at any point is finished at the next
start. The attributes give way to a tombstone in the same place: an index that is rebuilt from it
still knows that the file's token is used. The file's name is free once the row says DELETED.

A full disk is what files are deleted for: the room that a deletion needs first is taken from the
reserve (`agent.storage.reserve`).

A copy that is not wanted here any more, of a file that lives on, goes the same way and leaves no
tombstone: a note that is written with the row says so, that a start finishes it right.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import structlog

from agent.host import filesystem
from agent.host.directories import make_directories
from agent.index import removals
from agent.index.database import Database
from agent.outbox import cold_orders
from agent.outbox.events import deliveries_for
from agent.settings import Settings
from agent.storage import ending
from agent.storage.attributes import Attributes
from agent.storage.permissions import folder_mode
from agent.storage.quarantine import DOOMED_KEY, REASON_KEY, Kept, ended, move
from agent.storage.reserve import Reserve
from agent.storage.staging import SUFFIX, translated
from portside import durable_file
from portside.names import attributes_path
from portside.wire.files import StoredFile

_log = structlog.get_logger()

_REMOVAL_KEY = "removal:"
"""A note with this and a file's id for a key: of that file only this node's copy goes."""

_ORDER_KEY = "order:"
"""A note with this and a file's id for a key: the token that asked for its deletion."""

_COPY = "copy"
"""The value of a note DOOMED_KEY where only this node's copy goes."""

TOMBSTONE_SUFFIX = ".tombstone"
"""A tombstone on its way to its place, in staging."""


def delete(settings: Settings, database: Database, file_id: str, order: str | None = None) -> bool:
    """Delete a committed, quarantined or ended file. Returns when that is durable and its space is
    free.

    `order` is the token that asks for it: it stays with the tombstone, and proves to the control
    plane that the other copies are to go too. Without one only this node's is gone.

    False when there is no such file, or it was deleted before. Raises DiskFailed, sqlite3.Error, or
    DiskFull where even the reserve is used up; once the row is written the next start finishes what
    is left to do.
    """
    # A file whose way to the quarantine was cut short is brought there first.
    move(settings, database, file_id)
    ending.move(settings, database, (file_id,))
    reserve = Reserve(settings)
    reserve.spend(lambda: _begin(database, file_id, order=order, doomed=("QUARANTINED", "ENDED")))
    return reserve.spend(lambda: _carry_out(settings, database, file_id))


def remove_copy(settings: Settings, database: Database, file_id: str) -> bool:
    """Remove this node's copy of a file that lives on elsewhere: no tombstone is left behind.

    The file may come back one day; its token stays used. False when no such file is committed here;
    otherwise as `delete`.
    """
    reserve = Reserve(settings)
    ending.move(settings, database, (file_id,))
    if not reserve.spend(lambda: _begin(database, file_id, removal=True, doomed=("ENDED",))):
        # One whose time is over is out of service already.
        return reserve.spend(
            lambda: _carry_out(settings, database, file_id, state="ENDED", removal=True)
        )
    return reserve.spend(lambda: _carry_out(settings, database, file_id))


def _begin(
    database: Database,
    file_id: str,
    removal: bool = False,
    order: str | None = None,
    doomed: Sequence[str] = (),
) -> bool:
    """Write down that a committed file, or only this copy of it, goes; whether there was one.

    Of one that is in a state of `doomed` a note says so: the states are those from which it could
    come back.
    """
    with database.transaction() as connection:
        changed = connection.execute(
            "UPDATE files SET state = 'DELETING' WHERE file_id = ? AND state = 'COMMITTED'",
            (file_id,),
        )
        if changed.rowcount and removal:
            connection.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, '')", (_REMOVAL_KEY + file_id,)
            )
        _doom(connection, file_id, doomed, removal=removal)
        if order is not None:
            connection.execute(
                "INSERT OR REPLACE INTO notes SELECT ?, ? WHERE EXISTS (SELECT 1 FROM files "
                "WHERE file_id = ? AND state IN ('DELETING', 'QUARANTINED', 'ENDED'))",
                (_ORDER_KEY + file_id, order, file_id),
            )
        # Of one that failed half-way the note is there: asked for again, it is gone on with.
        return bool(changed.rowcount) or (removal and _is_removal(connection, file_id))


def _doom(
    connection: sqlite3.Connection, file_id: str, states: Sequence[str], *, removal: bool
) -> None:
    """Note down that a file which is in one of these states, out of service, is being deleted."""
    connection.execute(
        "INSERT OR REPLACE INTO notes SELECT ?, ? FROM files WHERE file_id = ? "  # noqa: S608 (marks alone)
        f"AND state IN ({', '.join('?' * len(states))})",
        (DOOMED_KEY + file_id, _COPY if removal else "", file_id, *states),
    )


def remove_damaged(settings: Settings, database: Database, file_id: str) -> bool:
    """Remove what is in quarantine of a file, as `remove_copy`: the file may live on elsewhere.

    False when it isn't in quarantine (any more).
    """
    # A file whose way to the quarantine was cut short is brought there first.
    move(settings, database, file_id)
    with database.transaction() as connection:
        _doom(connection, file_id, ("QUARANTINED",), removal=True)
    return _carry_out(settings, database, file_id, state="QUARANTINED", removal=True)


def finish_deletions(settings: Settings, database: Database) -> int:
    """Carry out the deletions that a crash cut short; returns how many. Raises as `delete`."""
    with database.transaction():
        # Of a quarantined file's deletion; nobody is at one, for the index is held.
        for tombstone in settings.staging.glob(f"*{TOMBSTONE_SUFFIX}"):
            tombstone.unlink()
    rows = database.rows(
        "SELECT file_id FROM files WHERE state = 'DELETING' AND state != 'COMMITTED'"
    )
    carry_out = partial(_carry_out, settings, database)
    reserve = Reserve(settings)
    finished = sum(reserve.spend(partial(carry_out, file_id)) for (file_id,) in rows)
    # Of these the half may be done: what is left is no file that could come back.
    doomed = database.rows("SELECT key, value FROM notes WHERE key GLOB ?", (f"{DOOMED_KEY}*",))
    for key, value in doomed:
        file_id = key.removeprefix(DOOMED_KEY)
        finished += reserve.spend(partial(carry_out, file_id, removal=value == _COPY))
    return finished


def _carry_out(
    settings: Settings,
    database: Database,
    file_id: str,
    state: str | None = None,
    removal: bool = False,
) -> bool:
    """Tombstone, data out of its place, row DELETED; then the space. With `state` of one that is in
    it alone; with `removal` without a tombstone, as where a note says so.

    The index is held until the row is written: during a reload two processes may be at the same
    deletion, and the slower one must not remove what has the file's name since. Giving back a large
    file's blocks takes longer, so that comes last, from staging, where a crash leaves it to the
    sweep.
    """
    doomed = settings.staging / f"{file_id}.deleted{SUFFIX}"
    try:
        with database.transaction() as connection:
            row = connection.execute(
                "SELECT state, jti, stored FROM files "
                "WHERE file_id = ? AND state IN ('DELETING', 'QUARANTINED', 'ENDED')",
                (file_id,),
            ).fetchone()
            if row is None:
                return False
            found, jti, text = row
            if state not in (None, found):
                return False
            stored = StoredFile.model_validate_json(text)
            data, attributes = _places(settings, found, stored)
            removal = removal or _is_removal(connection, file_id)
            if removal:
                # First, as the tombstone is: an index that is rebuilt must not know this copy.
                attributes.unlink(missing_ok=True)
            else:
                _replace_by_tombstone(
                    settings, attributes, stored, jti, _order_of(connection, file_id)
                )
            if data.exists():
                data.rename(doomed)
            disk = filesystem.of(settings.root)
            disk.sync_directory(data.parent)
            disk.sync_directory(settings.staging)
            _mark_gone(settings, connection, file_id, stored.namespace, removal, found)
        doomed.unlink(missing_ok=True)
    except OSError as error:
        raise translated(error, f"deleting {file_id}") from error
    event = "copy removed" if removal else "file deleted"
    _log.info(event, file_id=file_id, path=str(stored.path), size=stored.size)
    return True


def _places(settings: Settings, state: str, stored: StoredFile) -> tuple[Path, Path]:
    """Where the file's data and attributes are, their folder made if it is missing."""
    if state in ("QUARANTINED", "ENDED"):
        of = Kept.of if state == "QUARANTINED" else ended
        kept = of(settings, stored.file_id)
        return kept.data, kept.attributes
    mode = folder_mode(settings, stored.namespace)
    disk = filesystem.of(settings.root)
    make_directories(disk, settings.uploads, stored.path.parent, mode)
    return settings.uploads / stored.path, settings.uploads / attributes_path(stored.path)


def _replace_by_tombstone(
    settings: Settings, attributes: Path, stored: StoredFile, jti: str, order: str | None
) -> None:
    tombstone = Attributes(
        **dict(stored), jti=jti, deleted_at=datetime.now(UTC), deletion_order=order
    )
    temporary = settings.staging / (stored.file_id + TOMBSTONE_SUFFIX)
    durable_file.write(temporary, tombstone.model_dump_json().encode() + b"\n", 0o640)
    temporary.rename(attributes)


def _order_of(connection: sqlite3.Connection, file_id: str) -> str | None:
    note = connection.execute("SELECT value FROM notes WHERE key = ?", (_ORDER_KEY + file_id,))
    row = note.fetchone()
    return None if row is None else str(row[0])


def _is_removal(connection: sqlite3.Connection, file_id: str) -> bool:
    note = connection.execute("SELECT 1 FROM notes WHERE key = ?", (_REMOVAL_KEY + file_id,))
    return note.fetchone() is not None


def _mark_gone(
    settings: Settings,
    connection: sqlite3.Connection,
    file_id: str,
    namespace: str,
    removal: bool,
    state: str,
) -> None:
    """The row's end, and with it that of what is known of the file's copies, and of its notes.

    Hooks that want to hear of deletions hear of it from each node that had the file: a cache that
    asks one of the others meanwhile would have it again.

    A push that is under way sees it and is cut; one that hasn't begun never does. Those of a file
    that is deleted for good are left to the worker, which has their targets forget what came.
    """
    if removal:
        connection.execute(
            "INSERT OR REPLACE INTO departed SELECT file_id, jti, ? FROM files WHERE file_id = ?",
            (int(time.time()), file_id),
        )
        connection.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
        connection.execute("DELETE FROM pushes WHERE file_id = ?", (file_id,))
    else:
        connection.execute("UPDATE files SET state = 'DELETED' WHERE file_id = ?", (file_id,))
        cold_orders.file_deleted(connection, settings.cold, file_id, int(time.time()))
        removals.note(connection, file_id, "deleted", _order_of(connection, file_id))
        connection.executemany(
            "INSERT OR IGNORE INTO deliveries (file_id, kind, target, state, due) "
            "VALUES (?, ?, ?, 'WAITING', 0)",
            [
                (file_id, each.kind, each.target)
                for each in deliveries_for(settings.hooks, namespace, "deleted")
                # They heard of it at its end.
                if state != "ENDED"
            ],
        )
    connection.execute("DELETE FROM copies WHERE file_id = ?", (file_id,))
    for key in (REASON_KEY, DOOMED_KEY, _REMOVAL_KEY, _ORDER_KEY):
        connection.execute("DELETE FROM notes WHERE key = ?", (key + file_id,))
