"""Damaged files: out of listings and out of nginx's reach at once, kept for someone to look at.

The row says so first, so that a cut at any point is finished at the next start. Attributes move
before their data: while the data is at a path no upload can put anything there, so what is moved is
this file's own, even when its name is given again at that very moment.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from agent.host import filesystem
from agent.index import removals
from agent.index.database import Database
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.reserve import Reserve
from agent.storage.staging import translated
from portside.names import ATTRIBUTES_SUFFIX

_log = structlog.get_logger()

DATA_SUFFIX = ".data"

REASON_KEY = "quarantine-reason:"
"""The note that says why a file is in quarantine has this and the file's id for a key."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a quarantined file lies."""

    data: Path
    attributes: Path

    @classmethod
    def of(cls, settings: Settings, file_id: str) -> Kept:
        """The places of the file with this id."""
        return cls(
            settings.quarantine / (file_id + DATA_SUFFIX),
            settings.quarantine / (file_id + ATTRIBUTES_SUFFIX),
        )


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
        found = connection.execute(
            "SELECT path FROM files WHERE file_id = ? AND state = 'QUARANTINED'", (file_id,)
        ).fetchone()
        if found is None:
            return False
        data = settings.uploads / found[0]
        attributes = data.with_name(data.name + ATTRIBUTES_SUFFIX)
        kept = Kept.of(settings, file_id)
        # The data moves last: when it is there, what is at the path is somebody else's.
        if kept.data.exists() or not _is_own(connection, file_id, data, attributes):
            return False
        try:
            moved = _moved(attributes, kept.attributes)
            moved = _moved(data, kept.data) or moved
            if moved:
                disk = filesystem.of(settings.root)
                disk.sync_directory(settings.quarantine)
                disk.sync_directory(data.parent)
        except OSError as error:
            raise translated(error, f"moving {found[0]} to the quarantine") from error
    return moved


def discard(settings: Settings, database: Database, file_id: str) -> None:
    """Remove what is in quarantine of a file whose good bytes are durable elsewhere on this node.

    Of a file that isn't in quarantine nothing is touched. Raises as `move`.
    """
    move(settings, database, file_id)
    kept = Kept.of(settings, file_id)
    with database.transaction() as connection:
        gone = connection.execute(
            "DELETE FROM files WHERE file_id = ? AND state = 'QUARANTINED'", (file_id,)
        )
        if gone.rowcount == 0:
            return
        connection.execute("DELETE FROM notes WHERE key = ?", (REASON_KEY + file_id,))
        try:
            # Attributes first: they alone would bring the row back.
            kept.attributes.unlink(missing_ok=True)
            kept.data.unlink(missing_ok=True)
            filesystem.of(settings.root).sync_directory(settings.quarantine)
        except OSError as error:
            raise translated(error, f"removing {kept.data.name} from the quarantine") from error
    _log.info("damaged bytes removed: a good copy came", file_id=file_id)


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
    try:
        return Attributes.model_validate_json(attributes.read_bytes()).file_id == file_id
    except FileNotFoundError:
        # Moved already; a new file would have its own.
        return True
    except ValidationError:
        return False


def _moved(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except FileNotFoundError:
        return False
    return True
