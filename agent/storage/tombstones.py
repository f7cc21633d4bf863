"""Tombstones of deleted files, forgotten in the end: no token of a file lives that long.

A tombstone is the row DELETED and the attributes with `deleted_at`, in the file's place or in
quarantine (`agent.storage.deletion`). It keeps a token from making its file twice, and lets the
node say "deleted" instead of "unknown". The attributes go first: without them no `reindex` brings
the row back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from pydantic import ValidationError

from agent.host import filesystem
from agent.index import former, removals
from agent.index.database import Database
from agent.index.files import microseconds
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.quarantine import Kept, ended
from portside.names import ATTRIBUTES_SUFFIX, CANARY

_log = structlog.get_logger()

KEPT = timedelta(days=30)

KEPT_OF_A_CANARY = timedelta(hours=1)
"""A deploy's own file by which it sees that the node works: its token counts for five minutes, and
no other node has a copy that could bring it back."""


def purge(settings: Settings, database: Database, now: datetime, beat: Callable[[], None]) -> int:
    """Remove tombstones older than 30 days; returns how many. `beat` is called for each looked at.

    Those of canaries go after an hour. Raises OSError or sqlite3.Error; what is left is removed the
    next time.
    """
    cutoff = now - KEPT
    purged = 0
    for namespace, until in ((None, cutoff), (CANARY, now - KEPT_OF_A_CANARY)):
        rows = database.rows(
            "SELECT file_id FROM files WHERE state = 'DELETED' AND committed_at < ? "
            "AND namespace = coalesce(?, namespace)",
            (microseconds(until), namespace),
        )
        for (file_id,) in rows:
            beat()
            with database.transaction() as connection:
                purged += _purged(settings, connection, file_id, until)
    with database.transaction() as connection:
        connection.execute("DELETE FROM departed WHERE removed_at < ?", (int(cutoff.timestamp()),))
        removals.drop_older(connection, cutoff)
        former.drop_oldest(connection)
    if purged:
        _log.info("tombstones purged", files=purged)
    return purged


@dataclass(frozen=True, slots=True)
class Order:
    """By whose token a file was deleted, and when by this node's clock."""

    token: str
    deleted_at: datetime


def order_of(settings: Settings, database: Database, file_id: str) -> Order | None:
    """The order that a deleted file's tombstone keeps; None where there is none any more."""
    with database.transaction() as connection:
        for place in _places(settings, connection, file_id):
            found = _read(place)
            if found is None or found.file_id != file_id:
                continue
            if found.deleted_at is not None and found.deletion_order is not None:
                return Order(found.deletion_order, found.deleted_at)
    return None


def _purged(
    settings: Settings, connection: sqlite3.Connection, file_id: str, cutoff: datetime
) -> bool:
    """Remove one tombstone if it is old. The index is held: no commit begins meanwhile."""
    own = [
        (place, attributes)
        for place in _places(settings, connection, file_id)
        if (attributes := _read(place)) is not None and attributes.file_id == file_id
    ]
    # One whose attributes gave way to a new file of its name counts from its commit: its token's
    # times began then.
    if any(each.deleted_at is None or each.deleted_at > cutoff for _, each in own):
        return False
    for place, _ in own:
        place.unlink()
        filesystem.of(settings.root).sync_directory(place.parent)
    connection.execute("DELETE FROM files WHERE file_id = ? AND state = 'DELETED'", (file_id,))
    return True


def _places(settings: Settings, connection: sqlite3.Connection, file_id: str) -> Iterator[Path]:
    """Where the tombstone may be, and nothing of another file."""
    yield Kept.of(settings, file_id).attributes
    yield ended(settings, file_id).attributes
    row = connection.execute(
        "SELECT path, EXISTS (SELECT 1 FROM files AS other WHERE other.path = files.path "
        "AND other.state IN ('PENDING', 'COMMITTED', 'DELETING')) FROM files WHERE file_id = ?",
        (file_id,),
    ).fetchone()
    if row is None:
        return
    path, taken = row
    if not taken:
        # A commit under way is about to put its own attributes there, without holding the index.
        yield settings.uploads / (path + ATTRIBUTES_SUFFIX)


def _read(place: Path) -> Attributes | None:
    try:
        return Attributes.model_validate_json(place.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.warning("no attributes", path=os.fspath(place), reason=error.errors()[0]["msg"])
        return None
