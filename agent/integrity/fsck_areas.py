"""fsck's look at `staging` and `quarantine`, which hold no files in service."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from agent.host.tree import Folder, walk
from agent.index.database import Database
from agent.index.files import FileIndex
from agent.integrity import inspection
from agent.integrity.diagnosis import Finding, Kind
from agent.integrity.recovery import is_needed
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.deletion import delete
from agent.storage.layout import is_stray, quarantined_id, staged_for
from agent.storage.quarantine import Kept
from agent.storage.staging import SUFFIX, is_live, remove_abandoned
from portside.names import ATTRIBUTES_SUFFIX

MINIMUM_AGE = 60.0
"""Seconds for which a change is somebody's work in progress: a commit takes far less."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a run of fsck is to do."""

    digests: bool = False
    """Read every file and compare its SHA-256."""
    minimum_age: float = MINIMUM_AGE

    def is_young(self, changed: float) -> bool:
        """Whether what changed then (Unix seconds) is to be left alone."""
        return time.time() - changed < self.minimum_age

    def is_old(self, path: str) -> bool:
        """Whether something is at `path` and has been as it is for long enough."""
        found = inspection.lstat(path)
        return found is not None and not self.is_young(max(found.st_mtime, found.st_ctime))


def sweep(
    settings: Settings, database: Database, orders: Orders, repair: bool
) -> Iterator[Finding]:
    """What is left in staging that no process writes and nothing will go on with."""
    for entry in walk(settings.staging):
        if isinstance(entry, Folder):
            continue
        path = f"staging/{os.path.relpath(entry.path, settings.staging)}"
        needed_for = staged_for(entry.name)
        if needed_for is None or path != f"staging/{entry.name}":
            yield Finding(Kind.FOREIGN, path, "not a name that this node gives")
            continue
        if not orders.is_old(entry.path) or is_needed(database, needed_for):
            continue
        if is_live(settings.staging / needed_for):
            continue
        finding = Finding(Kind.STALE_STAGING, path, "no upload and no commit needs it")
        if not repair:
            yield finding
        elif _removed(database, Path(entry.path)):
            yield replace(finding, done="removed")


def _removed(database: Database, path: Path) -> bool:
    if path.name.endswith(SUFFIX):
        return remove_abandoned(path, lambda name: is_needed(database, name))
    path.unlink(missing_ok=True)
    return True


def revise(
    settings: Settings, database: Database, orders: Orders, repair: bool
) -> Iterator[Finding]:
    """What is in quarantine and the index doesn't know, or whose deletion was cut short."""
    for entry in walk(settings.quarantine):
        if isinstance(entry, Folder):
            continue
        path = f"quarantine/{os.path.relpath(entry.path, settings.quarantine)}"
        file_id = quarantined_id(entry.name)
        if file_id is None:
            if not is_stray(entry.name):
                yield Finding(Kind.FOREIGN, path, "not a name that this node gives")
        elif entry.name.endswith(ATTRIBUTES_SUFFIX) and orders.is_old(entry.path):
            yield from _revised(settings, database, file_id, path, repair)


def _revised(
    settings: Settings, database: Database, file_id: str, path: str, repair: bool
) -> Iterator[Finding]:
    kept = Kept.of(settings, file_id)
    attributes = inspection.attributes_at(kept.attributes)
    if not isinstance(attributes, Attributes) or attributes.file_id != file_id:
        return
    row = inspection.row_of(database, file_id)
    is_deleted = attributes.deleted_at is not None
    if row is None and (is_deleted or inspection.size_of(kept.data) is not None):
        finding = Finding(Kind.QUARANTINED_WITHOUT_ROW, path, "not in the index", file_id)
        if repair:
            file = [(attributes.jti, attributes.stored())]
            FileIndex(database).restore(file, "DELETED" if is_deleted else "QUARANTINED")
            finding = replace(finding, done="row written from its attributes")
        yield finding
    elif is_deleted and row is not None and row.state == "QUARANTINED":
        finding = Finding(Kind.HALF_DELETED, path, "cut short", file_id)
        if repair:
            delete(settings, database, file_id, attributes.deletion_order)
            finding = replace(finding, done="finished")
        yield finding
