"""Reading what a node keeps about its files: attributes on disk, rows, data. Changes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from agent.index.database import Database
from agent.integrity.diagnosis import Place, Row, Unusable
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.quarantine import Kept
from agent.storage.verification import DAMAGE, hash_file
from portside.names import ATTRIBUTES_SUFFIX

_MOST_ATTRIBUTES = 64 * 1024
"""Bytes: the node's own have 4 KiB at most; what is larger is somebody else's and isn't read."""

_ROW = "SELECT file_id, jti, path, state, stored FROM files "
_LIVE = "state IN ('PENDING', 'COMMITTED', 'DELETING')"


def read_attributes(path: str | Path) -> Attributes | Unusable:
    """The attributes at `path`, or why they can't be used. Raises FileNotFoundError."""
    try:
        # Never waits: a pipe may lie there.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            text = os.read(descriptor, _MOST_ATTRIBUTES)
        finally:
            os.close(descriptor)
        return Attributes.model_validate_json(text)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        return Unusable(str(error.errors(include_url=False, include_input=False)[0]["msg"]))
    except OSError as error:
        return Unusable(f"can't be read: {error.strerror}")


def attributes_at(path: str | Path) -> Attributes | Unusable | None:
    """As `read_attributes`; None where there are none."""
    try:
        return read_attributes(path)
    except FileNotFoundError:
        return None


def size_of(path: str | Path) -> int | None:
    """Bytes of the regular file at `path`; None when there is none."""
    found = lstat(path)
    return found.st_size if found is not None and stat.S_ISREG(found.st_mode) else None


def lstat(path: str | Path) -> os.stat_result | None:
    """What is at `path`, a link as itself; None when nothing is there."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def digest_of(path: Path) -> str | Unusable | None:
    """SHA-256 of the data at `path` as it is on disk; None when it is gone.

    Unusable when the disk can't give it. Raises OSError for what passes, such as ENOMEM.
    """
    try:
        return hash_file(path).sha256
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in DAMAGE:
            raise
        return Unusable(f"can't be read: {error.strerror}")


@dataclass(frozen=True, slots=True)
class Seen:
    """A place as it was at one moment, and when something on it last changed (Unix seconds)."""

    place: Place
    changed: float


def look(settings: Settings, database: Database, path: str) -> Seen:
    """Everything that is known of the data path `path` now, its digest left out."""
    data = settings.uploads / path
    described = data.with_name(data.name + ATTRIBUTES_SUFFIX)
    at_path = row_at(database, path)
    found = [each for each in (lstat(data), lstat(described)) if each is not None]
    attributes = attributes_at(described)
    if isinstance(attributes, Attributes):
        of_file = row_of(database, attributes.file_id, attributes.jti)
    else:
        of_file = _on_its_way_to_quarantine(settings, database, path)
    place = Place(path, size_of(data), attributes, at_path, of_file)
    return Seen(place, max((each.st_ctime for each in found), default=0.0))


def _on_its_way_to_quarantine(settings: Settings, database: Database, path: str) -> Row | None:
    """The row of a file whose attributes have been moved to the quarantine, and its data hasn't."""
    rows = database.rows(
        f"{_ROW} WHERE path = ? AND state = 'QUARANTINED' AND state != 'COMMITTED'", (path,)
    )
    for row in rows:
        if not Kept.of(settings, row[0]).data.exists():
            return Row(*row)
    return None


def row_at(database: Database, path: str) -> Row | None:
    """The row of the file that is at `path`, was about to be, or is about to go."""
    return _one(database.row(f"{_ROW} WHERE path = ? AND {_LIVE}", (path,)))


def row_of(database: Database, file_id: str, jti: str = "") -> Row | None:
    """The row of a file, in any state; failing that, the row that has its token."""
    query = f"{_ROW} WHERE file_id = ? OR jti = ? ORDER BY file_id = ? DESC"
    return _one(database.row(query, (file_id, jti, file_id)))


def rows_of(database: Database, file_ids: Sequence[str]) -> dict[str, Row]:
    """The rows of many files, by id."""
    marks = ", ".join("?" * len(file_ids))
    found = database.rows(f"{_ROW} WHERE file_id IN ({marks})", file_ids)
    return {row[0]: Row(*row) for row in found}


def rows_in(database: Database, state: str, after: str, limit: int) -> list[Row]:
    """At most `limit` rows in a state whose file's id comes behind `after`, in order of ids."""
    # Said in these words, the few unsettled rows have an index of their own.
    settled = "state = 'COMMITTED'" if state == "COMMITTED" else "state != 'COMMITTED'"
    query = f"{_ROW} WHERE state = ? AND {settled} AND file_id > ? ORDER BY file_id LIMIT ?"
    return [Row(*row) for row in database.rows(query, (state, after, limit))]


def _one(row: tuple[object, ...] | None) -> Row | None:
    return None if row is None else Row(*map(str, row))
