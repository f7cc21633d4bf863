"""Damaged files: out of listings and out of nginx's reach at once, kept for someone to look at.

The row says so first, so that a cut at any point is finished at the next start. Attributes move
before their data: while the data is at a path no upload can put anything there, so what is moved is
this file's own, even when its name is given again at that very moment.

The way back (`put_back`) is one transaction of the index, its row last: a cut at any point is taken
back at the next start, for the row still says that the file is in quarantine.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog
from pydantic import ValidationError

from agent.host import filesystem
from agent.host.directories import make_directories
from agent.index import removals
from agent.index.database import Database
from agent.index.files import Delivery, add_deliveries, microseconds, stored_of
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.attributes import write as write_attributes
from agent.storage.permissions import folder_mode, set_data_mode
from agent.storage.reserve import Reserve
from agent.storage.staging import translated
from portside.cluster.lifetimes import has_ended
from portside.names import ATTRIBUTES_SUFFIX
from portside.wire.files import StoredFile

_log = structlog.get_logger()

DATA_SUFFIX = ".data"

REASON_KEY = "quarantine-reason:"
"""The note that says why a file is in quarantine has this and the file's id for a key."""

DOOMED_KEY = "doomed:"
"""The note that a file which is in quarantine or ended is being deleted has this and its id for a
key (`agent.storage.deletion`). Whatever puts it back calls that off."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a file lies that is out of service."""

    data: Path
    attributes: Path

    @classmethod
    def of(cls, settings: Settings, file_id: str) -> Kept:
        """The places of the quarantined file with this id."""
        return cls(
            settings.quarantine / (file_id + DATA_SUFFIX),
            settings.quarantine / (file_id + ATTRIBUTES_SUFFIX),
        )


def ended(settings: Settings, file_id: str) -> Kept:
    """The places of a file whose time is over. Millions may be: in 256 folders."""
    folder = settings.ended / file_id[:2]
    return Kept(folder / (file_id + DATA_SUFFIX), folder / (file_id + ATTRIBUTES_SUFFIX))


def quarantine(settings: Settings, database: Database, file_id: str, reason: str) -> None:
    """Take a committed file out of service, durably; `reason` is for people.

    A file that is not committed (any more) is left alone. Raises DiskFailed, sqlite3.Error, or
    DiskFull where even the reserve is used up; once the row is written the next start finishes what
    is left to do.
    """
    if Reserve(settings).spend(lambda: _condemn(database, file_id, reason)):
        _log.error("file quarantined", file_id=file_id, reason=reason)
        move(settings, database, file_id)


def _condemn(database: Database, file_id: str, reason: str) -> bool:
    with database.transaction() as connection:
        changed = connection.execute(
            "UPDATE files SET state = 'QUARANTINED' WHERE file_id = ? AND state = 'COMMITTED'",
            (file_id,),
        )
        if changed.rowcount == 0:
            return False
        connection.execute(
            "INSERT OR REPLACE INTO notes VALUES (?, ?)", (REASON_KEY + file_id, reason)
        )
        removals.note(connection, file_id, "damaged")
    return True


def finish_quarantines(settings: Settings, database: Database) -> int:
    """Move what a crash left in its old place; returns how many files that were."""
    rows = database.rows(
        "SELECT file_id FROM files WHERE state = 'QUARANTINED' AND state != 'COMMITTED'"
    )
    return sum(move(settings, database, file_id) for (file_id,) in rows)


def move(settings: Settings, database: Database, file_id: str) -> bool:
    """Move a quarantined file's data and attributes out of `uploads`; whether there were any.

    No commit can begin meanwhile, in any process: the index is held. On a full disk the reserve
    gives the room that a folder may need to grow. Raises DiskFull, DiskFailed or sqlite3.Error.
    """
    return Reserve(settings).spend(lambda: _move(settings, database, file_id))


def _move(settings: Settings, database: Database, file_id: str) -> bool:
    with database.transaction() as connection:
        kept = Kept.of(settings, file_id)
        data = move_out(settings, connection, file_id, "QUARANTINED", kept)
        if data is None:
            return False
        try:
            disk = filesystem.of(settings.root)
            disk.sync_directory(settings.quarantine)
            disk.sync_directory(data.parent)
        except OSError as error:
            raise translated(error, f"moving {data.name} to the quarantine") from error
    return True


def move_out(
    settings: Settings,
    connection: sqlite3.Connection,
    file_id: str,
    state: Literal["QUARANTINED", "ENDED"],
    kept: Kept,
) -> Path | None:
    """Move a file that is in `state` from `uploads` to `kept`, in the caller's transaction.

    Returns where its data was if there was anything to move; the caller syncs both folders. Raises
    DiskFull or DiskFailed.
    """
    found = connection.execute(
        "SELECT path FROM files WHERE file_id = ? AND state = ?", (file_id, state)
    ).fetchone()
    if found is None:
        return None
    data = settings.uploads / found[0]
    attributes = data.with_name(data.name + ATTRIBUTES_SUFFIX)
    if not _is_own(connection, file_id, data, attributes):
        return None
    try:
        if data.exists() and kept.data.exists() and data.samefile(kept.data):
            # A way back without a rename (`agent.host.filesystem`), cut short between its steps.
            data.unlink()
        # The data moves last: when it is there, attributes at the path were put there by a way back
        # that was cut short, or are somebody else's.
        if kept.data.exists() and (data.exists() or not _tell_of(attributes, file_id)):
            return None
        moved = _moved(attributes, kept.attributes)
        moved = _moved(data, kept.data) or moved
    except OSError as error:
        raise translated(error, f"moving {found[0]} out of service") from error
    return data if moved else None


def put_back(
    settings: Settings,
    database: Database,
    attributes: Attributes,
    deliveries: Sequence[Delivery] = (),
    state: Literal["QUARANTINED", "ENDED"] = "QUARANTINED",
) -> StoredFile:
    """Put a quarantined file whose bytes were just verified back into service, durably; or one
    whose time was over. Returns the file as it is from now on.

    `attributes` are what it is to have from now on, `deliveries` what is to be told of it. Whether
    it is held, and of a quarantined one when it ends, its row alone says: it may have been told
    since these attributes were read. Raises FileExistsError when its name was given again,
    FileNotFoundError when it isn't in that state any more, and as `move`; nothing has changed then.
    """
    file_id = attributes.file_id
    data = settings.uploads / attributes.path
    kept = Kept.of(settings, file_id) if state == "QUARANTINED" else ended(settings, file_id)
    with database.transaction() as connection:
        attributes = _as_told_last(connection, attributes, state)
        stored = attributes.stored()
        try:
            # First of all: from here on the name is this file's, or it is refused.
            connection.execute(
                "UPDATE files SET state = 'COMMITTED', stored = ?, "
                "verified_at = CASE state WHEN 'QUARANTINED' THEN ? ELSE verified_at END "
                "WHERE file_id = ? AND state = ?",
                (stored.model_dump_json(), time.time_ns() // 1000, file_id, state),
            )
        except sqlite3.IntegrityError:
            raise FileExistsError(f"{stored.path} is another file's by now") from None
        connection.executemany(
            "DELETE FROM notes WHERE key = ?", [(REASON_KEY + file_id,), (DOOMED_KEY + file_id,)]
        )
        removals.drop(connection, file_id)
        add_deliveries(connection, file_id, [*deliveries, *_given_up(connection, file_id)])
        if data.exists():
            raise FileExistsError(f"something lies at uploads/{stored.path}")
        try:
            _place(settings, attributes, data, kept)
        except (FileExistsError, FileNotFoundError):
            raise
        except OSError as error:
            raise translated(error, f"putting {stored.path} back") from error
    _log.info("file put back", file_id=file_id, path=str(stored.path), size=stored.size)
    return stored


def _as_told_last(connection: sqlite3.Connection, attributes: Attributes, state: str) -> Attributes:
    """Attributes with what the row says, which may be newer. Raises FileNotFoundError."""
    row = connection.execute(
        "SELECT stored FROM files WHERE file_id = ? AND state = ?", (attributes.file_id, state)
    ).fetchone()
    if row is None:
        raise FileNotFoundError(f"{attributes.file_id} is not {state.lower()} any more")
    told = stored_of(row[0])
    expires_at = told.expires_at if state == "QUARANTINED" else attributes.expires_at
    return attributes.model_copy(
        update={"held": told.held, "hold": told.hold, "expires_at": expires_at}
    )


def _given_up(connection: sqlite3.Connection, file_id: str) -> list[Delivery]:
    """What nobody was told of because the file was in quarantine: now it can be."""
    rows = connection.execute(
        "SELECT kind, target FROM deliveries WHERE file_id = ? AND state = 'DEAD' "
        "AND error LIKE '%in quarantine'",
        (file_id,),
    )
    return [Delivery(kind, target) for kind, target in rows]


def _place(settings: Settings, attributes: Attributes, data: Path, kept: Kept) -> None:
    """Attributes, then data, then both directories on disk, as with every commit."""
    write_attributes(settings, kept.attributes, attributes)
    disk = filesystem.of(settings.root)
    # Bytes that were fetched are as old as the file: nginx tells it, the same on every node.
    moment = microseconds(attributes.committed_at) * 1000
    os.utime(kept.data, ns=(moment, moment))
    # One whose time is over ends within seconds: until then nginx isn't to serve it.
    closed = attributes.held or has_ended(attributes.expires_at, time.time())
    set_data_mode(settings, attributes.namespace, kept.data, held=closed)
    mode = folder_mode(settings, attributes.namespace)
    make_directories(disk, settings.uploads, attributes.path.parent, mode)
    kept.attributes.rename(data.with_name(data.name + ATTRIBUTES_SUFFIX))
    disk.rename_without_replacing(kept.data, data)
    disk.sync_directory(data.parent)
    disk.sync_directory(kept.data.parent)


def replace_bytes(settings: Settings, database: Database, file_id: str, staging: Path) -> bool:
    """Have good bytes, durable in `staging`, take the place of a quarantined file's damaged ones.

    False when the file isn't in quarantine any more. Raises as `move`.
    """
    with database.transaction() as connection:
        if (
            connection.execute(
                "SELECT 1 FROM files WHERE file_id = ? AND state = 'QUARANTINED'", (file_id,)
            ).fetchone()
            is None
        ):
            return False
        try:
            staging.rename(Kept.of(settings, file_id).data)
            filesystem.of(settings.root).sync_directory(settings.quarantine)
        except OSError as error:
            raise translated(error, f"replacing the bytes of {file_id}") from error
    return True


def _is_own(connection: sqlite3.Connection, file_id: str, data: Path, attributes: Path) -> bool:
    """Whether what is at the path is the quarantined file and not one that has its name since."""
    taken = connection.execute(
        "SELECT 1 FROM files WHERE path = (SELECT path FROM files WHERE file_id = ?) "
        "AND state IN ('PENDING', 'COMMITTED', 'DELETING')",
        (file_id,),
    ).fetchone()
    if taken is None:
        return True
    # Looked at in this order: a new file's attributes are there before its data.
    if not data.exists():
        return False
    # Moved already; a new file would have its own.
    return not attributes.exists() or _tell_of(attributes, file_id)


def _tell_of(attributes: Path, file_id: str) -> bool:
    """Whether these are attributes of this file."""
    try:
        return Attributes.model_validate_json(attributes.read_bytes()).file_id == file_id
    except (FileNotFoundError, ValidationError):
        return False


def _moved(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except FileNotFoundError:
        return False
    return True
