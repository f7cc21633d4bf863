"""Rebuild the index from what is on disk: the attributes beside each file are the truth.

Runs beside a working agent: rows are added or corrected from the attributes found, and only rows
whose file is gone are removed. Tombstones and what is in quarantine get their rows back, so that
the tokens stay used. Copies of which nothing is known any more are ordered again, unless a control
plane does that: a node that has its copy answers at once. What can't be indexed is reported and
left where it is.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from agent.cluster.roster import Rosters
from agent.host.tree import Folder, walk
from agent.index.files import FileIndex
from agent.index.usage import count_anew
from agent.integrity.diagnosis import Unusable
from agent.integrity.inspection import read_attributes, size_of
from agent.outbox.events import VERDICTS_TOLD
from agent.replication.queue import PushQueue
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.holds import finish_holds
from agent.storage.layout import quarantined_id
from agent.storage.opening import open_index
from agent.storage.quarantine import Kept, ended
from portside.names import ATTRIBUTES_SUFFIX

_log = structlog.get_logger()

_BATCH = 500
"""Files per transaction: a running agent's commits wait no longer than one takes."""

_State = Literal["COMMITTED", "QUARANTINED", "ENDED", "DELETING", "DELETED"]


@dataclass(slots=True)
class Rebuilt:
    """Files indexed, deleted, quarantined and ended ones known again, rows removed because their
    file is gone, and files that could not be indexed: the log says why."""

    indexed: int = 0
    deleted: int = 0
    quarantined: int = 0
    ended: int = 0
    removed: int = 0
    refused: int = 0


def reindex(settings: Settings) -> Rebuilt:
    """Bring the index in line with the files. An index that is no database is put aside first."""
    _put_aside_if_broken(settings.index)
    database = open_index(settings)
    rebuilt = Rebuilt()
    # Of these an index that wasn't lost knows better than the attributes.
    finish_holds(settings, database)
    # A control plane knows which copies there are, and orders those that are missing.
    pushes = PushQueue(database) if Rosters(settings).current().control_url is None else None
    _restore_all(FileIndex(database), pushes, _in_uploads(settings), rebuilt)
    _restore_all(FileIndex(database), None, _in_quarantine(settings), rebuilt)
    _restore_all(FileIndex(database), None, _among_ended(settings), rebuilt)
    uploads = str(settings.uploads)
    # Folders are few and names are many: what is looked up again is in the kernel's cache.
    rebuilt.removed = FileIndex(database).remove_missing(lambda path: _exists(f"{uploads}/{path}"))
    count_anew(database)
    # What was still to be told of them is lost with the old index.
    with database.transaction() as connection:
        connection.execute("DELETE FROM notes WHERE key = ?", (VERDICTS_TOLD,))
    database.close()
    return rebuilt


def _exists(path: str) -> bool:
    return size_of(path) is not None


_Found = tuple[_State, Attributes] | str
"""A file and the state that its row belongs in, or why it can't be indexed."""


def _restore_all(
    index: FileIndex, pushes: PushQueue | None, files: Iterator[_Found], rebuilt: Rebuilt
) -> None:
    batches: dict[_State, list[Attributes]] = {}
    for found in files:
        if isinstance(found, str):
            rebuilt.refused += 1
            _log.warning("not indexed", reason=found)
            continue
        state, attributes = found
        batch = batches.setdefault(state, [])
        batch.append(attributes)
        if len(batch) == _BATCH:
            _restore(index, pushes, state, batch, rebuilt)
            batch.clear()
    for state, batch in batches.items():
        _restore(index, pushes, state, batch, rebuilt)


def _restore(
    index: FileIndex,
    pushes: PushQueue | None,
    state: _State,
    batch: list[Attributes],
    rebuilt: Rebuilt,
) -> None:
    clashes = index.restore([(each.jti, each.stored()) for each in batch], state)
    for each in clashes:
        reason = f"{each.path}: another file has its id, token or path"
        _log.warning("not indexed", reason=reason)
    rebuilt.refused += len(clashes)
    done = len(batch) - len(clashes)
    if state == "COMMITTED":
        rebuilt.indexed += done
        copied = [
            (each.file_id, each.replicas, each.upload_token) for each in batch if each.replicas
        ]
        if pushes is not None and copied:
            pushes.order_again(copied)
    elif state == "QUARANTINED":
        rebuilt.quarantined += done
    elif state == "ENDED":
        rebuilt.ended += done
    else:
        rebuilt.deleted += done


def _in_uploads(settings: Settings) -> Iterator[_Found]:
    start = len(str(settings.uploads)) + 1
    for entry in walk(settings.uploads):
        if isinstance(entry, Folder) or not entry.name.endswith(ATTRIBUTES_SUFFIX):
            continue
        path = entry.path[start:].removesuffix(ATTRIBUTES_SUFFIX)
        # What is gone a moment later was moved by somebody who keeps its row.
        with suppress(FileNotFoundError):
            yield _judged(entry, path)


def _judged(entry: os.DirEntry[str], path: str) -> _Found:
    attributes = read_attributes(entry.path)
    if isinstance(attributes, Unusable):
        return f"{entry.path}: {attributes.reason}"
    if str(attributes.path) != path:
        return f"{entry.path}: belongs to {attributes.path}"
    size = size_of(entry.path.removesuffix(ATTRIBUTES_SUFFIX))
    if attributes.deleted_at is not None:
        # With data it was cut short: whoever starts next finishes it.
        return "DELETED" if size is None else "DELETING", attributes
    if size is None:
        return f"{entry.path}: its file is missing"
    if size != attributes.size:
        return f"{entry.path}: its file has {size} bytes instead of {attributes.size}"
    return "COMMITTED", attributes


def _in_quarantine(settings: Settings) -> Iterator[_Found]:
    for entry in walk(settings.quarantine):
        if isinstance(entry, Folder) or not entry.name.endswith(ATTRIBUTES_SUFFIX):
            continue
        file_id = quarantined_id(entry.name)
        if file_id is None:
            continue
        try:
            attributes = read_attributes(entry.path)
        except FileNotFoundError:
            continue
        if isinstance(attributes, Unusable) or attributes.file_id != file_id:
            yield f"{entry.path}: tells nothing of the file beside it"
        elif attributes.deleted_at is not None:
            yield "DELETED", attributes
        elif Kept.of(settings, file_id).data.exists():
            yield "QUARANTINED", attributes


def _among_ended(settings: Settings) -> Iterator[_Found]:
    """Files whose time is over, and tombstones of such. What was cut on its way there is found
    among the uploads, and ends once more."""
    for entry in walk(settings.ended):
        if isinstance(entry, Folder) or not entry.name.endswith(ATTRIBUTES_SUFFIX):
            continue
        with suppress(FileNotFoundError):
            attributes = read_attributes(entry.path)
            if isinstance(attributes, Unusable) or attributes.file_id != quarantined_id(entry.name):
                yield f"{entry.path}: tells nothing of the file beside it"
            elif attributes.deleted_at is not None:
                yield "DELETED", attributes
            elif ended(settings, attributes.file_id).data.exists():
                yield "ENDED", attributes


def _put_aside_if_broken(path: Path) -> None:
    if not path.exists():
        return
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA quick_check").fetchone()
    except sqlite3.DatabaseError as error:
        aside = path.with_name(
            f"{path.name}.broken-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}"
        )
        for each in _with_logs(path):
            each.rename(each.with_name(each.name.replace(path.name, aside.name)))
        _log.error("index put aside", reason=str(error), aside=str(aside))
    finally:
        connection.close()


def _with_logs(path: Path) -> Iterator[Path]:
    """The database and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        each = path.with_name(path.name + suffix)
        if each.exists():
            yield each
