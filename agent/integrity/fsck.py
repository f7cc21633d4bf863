"""Compare files, attributes and index, and mend what differs; beside a working agent.

Names are streamed and rows come in batches, so memory stays small however many files there are.
What looks wrong is looked at again, one by one: what changed within the last minute, what is locked
and what is different at a second look belongs to somebody at work and is left alone.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.host.tree import Folder, walk
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.integrity import inspection
from agent.integrity.diagnosis import Finding, Kind, Place, Row, classify, needs_digest
from agent.integrity.fsck_areas import Orders, revise, sweep
from agent.integrity.recovery import settle
from agent.integrity.repair import Repair
from agent.settings import Settings
from agent.storage import permissions, quarantine
from agent.storage.attributes import Attributes
from agent.storage.commit import Committer
from agent.storage.deletion import delete
from agent.storage.layout import is_folder, is_past
from agent.storage.staging import is_live
from portside.names import ATTRIBUTES_SUFFIX

_BATCH = 500
"""Names or rows looked at together."""

_SECOND_LOOK = 1.0
"""Seconds between two looks at a row in passing: a deletion or quarantine goes on meanwhile."""


class Fsck:
    """One run over one node. With a committer it mends what it finds, without it only looks."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        orders: Orders,
        committer: Committer | None = None,
    ) -> None:
        self.files = 0
        """Files that are as they should be."""
        self._settings = settings
        self._database = database
        self._orders = orders
        self._committer = committer
        self._index = FileIndex(database)
        self._mender = Repair(settings, database) if committer is not None else None
        self._misplaced: set[str] = set()
        self._modes: Counter[str] = Counter()

    def run(self) -> Iterator[Finding]:
        """Everything that is not as it should be, as it is found. Raises as `Mender.mend`."""
        began = time.monotonic()
        repair = self._committer is not None
        passing = {state: self._in_passing(state) for state in ("DELETING", "QUARANTINED")}
        yield from self._commits()
        yield from sweep(self._settings, self._database, self._orders, repair)
        yield from self._uploads()
        yield from self._told_modes()
        yield from self._rows()
        yield from revise(self._settings, self._database, self._orders, repair)
        if any(passing.values()):
            time.sleep(max(0.0, _SECOND_LOOK - (time.monotonic() - began)))
        yield from self._half_done("DELETING", passing["DELETING"])
        yield from self._half_done("QUARANTINED", passing["QUARANTINED"])

    def _commits(self) -> Iterator[Finding]:
        for intent in self._index.pending():
            staging = self._settings.staging / intent.staging
            if is_live(staging) or self._orders.is_young(intent.stored.committed_at.timestamp()):
                continue
            yield self._settled(intent)

    def _settled(self, intent: Intent) -> Finding:
        stored = intent.stored
        finding = Finding(
            Kind.CUT_COMMIT, f"uploads/{stored.path}", "its commit was cut short", stored.file_id
        )
        if self._committer is None:
            return finding
        finished = settle(self._settings, self._index, self._committer, intent)
        return replace(finding, done="finished" if finished else "undone")

    # Files

    def _uploads(self) -> Iterator[Finding]:
        batch: list[os.DirEntry[str] | Folder] = []
        for entry in walk(self._settings.uploads):
            batch.append(entry)
            if len(batch) == _BATCH:
                yield from self._entries(batch)
                batch = []
        yield from self._entries(batch)

    def _entries(self, batch: list[os.DirEntry[str] | Folder]) -> Iterator[Finding]:
        start = len(str(self._settings.uploads)) + 1
        described: list[tuple[str, Attributes]] = []
        suspicious: list[str] = []
        for entry in batch:
            path = entry.path[start:]
            if isinstance(entry, Folder):
                continue
            if not _may_be_ours(entry):
                yield Finding(Kind.FOREIGN, f"uploads/{path}", "not a file that this node writes")
            elif path.endswith(ATTRIBUTES_SUFFIX):
                data = path.removesuffix(ATTRIBUTES_SUFFIX)
                attributes = inspection.attributes_at(entry.path)
                if isinstance(attributes, Attributes) and str(attributes.path) == data:
                    described.append((data, attributes))
                else:
                    suspicious.append(data)
            elif inspection.lstat(entry.path + ATTRIBUTES_SUFFIX) is None:
                suspicious.append(path)
        suspicious += self._differing(described)
        for path in suspicious:
            yield from self._examined(path)
        for entry in batch:
            if isinstance(entry, Folder):
                yield from self._pruned(entry, entry.path[start:])
                if is_folder(entry.path[start:]):
                    self._look_at_mode(entry.path[start:])

    def _differing(self, described: list[tuple[str, Attributes]]) -> Iterator[str]:
        """Paths at which file, attributes and row don't agree at first sight."""
        rows = inspection.rows_of(self._database, [each.file_id for _, each in described])
        for path, attributes in described:
            if self._is_sound(path, attributes, rows.get(attributes.file_id)):
                if attributes.deleted_at is None:
                    self.files += 1
                    self._look_at_mode(path, attributes.held)
            else:
                yield path

    def _is_sound(self, path: str, attributes: Attributes, row: Row | None) -> bool:
        data = self._settings.uploads / path
        size = inspection.size_of(data)
        if attributes.deleted_at is not None:
            return size is None and row is not None and row.state == "DELETED"
        return (
            row is not None
            and size == attributes.size
            and row.state == "COMMITTED"
            and row.jti == attributes.jti
            and _say_the_same(row, attributes)
            and (not self._orders.digests or inspection.digest_of(data) == attributes.sha256)
        )

    def _examined(self, path: str) -> Iterator[Finding]:
        """What is wrong at a path for good: the same at two looks, and not changed just now."""
        seen = inspection.look(self._settings, self._database, path)
        place = seen.place
        if self._orders.is_young(seen.changed):
            self._note_misplaced(place)
            return
        if place.size is not None and (self._orders.digests or needs_digest(place)):
            place = replace(place, digest=inspection.digest_of(self._settings.uploads / path))
        finding = classify(place)
        again = inspection.look(self._settings, self._database, path)
        if finding is None or again != seen:
            return
        if self._mender is None:
            self._note_misplaced(place)
            yield finding
        else:
            yield self._mender.mend(place, finding)

    def _note_misplaced(self, place: Place) -> None:
        """A file that is found at another path than its row's, and stays there, is not lost."""
        attributes = place.attributes
        if not isinstance(attributes, Attributes) or place.size is None:
            return
        if str(attributes.path) != place.path:
            self._misplaced.add(attributes.file_id)

    def _pruned(self, folder: Folder, path: str) -> Iterator[Finding]:
        if not is_past(path, datetime.now(UTC)):
            return
        finding = Finding(Kind.EMPTY_FOLDER, f"uploads/{path}", "nothing is in it")
        if self._mender is None:
            if folder.is_empty:
                yield finding
        elif not self._index.pending():
            # Not empty before this run, it may be so now; the system knows.
            with suppress(OSError):
                Path(folder.path).rmdir()
                yield replace(finding, done="removed")

    def _look_at_mode(self, path: str, held: bool = False) -> None:
        # What has gone meanwhile needs none.
        with suppress(FileNotFoundError):
            if not permissions.differs(self._settings, path, held=held):
                return
            self._modes[path.partition("/")[0]] += 1
            if self._mender is not None:
                permissions.mend(self._settings, path, held=held)

    def _told_modes(self) -> Iterator[Finding]:
        for namespace, count in sorted(self._modes.items()):
            yield Finding(
                Kind.MODES,
                f"uploads/{namespace}",
                f"{count} files and folders don't have the mode of their namespace",
                done=None if self._mender is None else "given to them",
            )

    # Rows

    def _rows(self) -> Iterator[Finding]:
        """Committed files of which nothing is left; where attributes are, they were found above."""
        uploads = self._settings.uploads
        for row in self._each_row("COMMITTED"):
            data = uploads / row.path
            if inspection.size_of(data) is not None or row.file_id in self._misplaced:
                continue
            if inspection.lstat(f"{data}{ATTRIBUTES_SUFFIX}") is None:
                yield from self._examined(row.path)

    def _each_row(self, state: str) -> Iterator[Row]:
        last = ""
        while rows := inspection.rows_in(self._database, state, last, _BATCH):
            yield from rows
            last = rows[-1].file_id

    def _in_passing(self, state: str) -> set[str]:
        """Files whose deletion or quarantine is under way, or was cut short."""
        return {row.file_id for row in self._each_row(state) if self._is_half_done(row)}

    def _is_half_done(self, row: Row) -> bool:
        if row.state == "DELETING":
            return True
        if quarantine.Kept.of(self._settings, row.file_id).data.exists():
            # The data moves last.
            return False
        place = inspection.look(self._settings, self._database, row.path).place
        # Where its name was given again, what is there is another file's or on its way to be.
        is_there = place.size is not None or place.attributes is not None
        return is_there and place.at_path is None and place.of_file == row

    def _half_done(self, state: str, before: set[str]) -> Iterator[Finding]:
        kind = Kind.HALF_DELETED if state == "DELETING" else Kind.HALF_QUARANTINED
        for file_id in sorted(before):
            row = inspection.row_of(self._database, file_id)
            if row is None or row.state != state or not self._is_half_done(row):
                continue
            finding = Finding(kind, f"uploads/{row.path}", "cut short", file_id)
            if self._mender is not None:
                act = delete if state == "DELETING" else quarantine.move
                act(self._settings, self._database, file_id)
                finding = replace(finding, done="finished")
            yield finding


def _may_be_ours(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, with a name that can be one of data or attributes."""
    return (
        entry.is_file(follow_symlinks=False)
        and entry.name.isprintable()
        and entry.name != ATTRIBUTES_SUFFIX
    )


def _say_the_same(row: Row, attributes: Attributes) -> bool:
    """Text first: it is cheap, and differs only where a release has added a field."""
    stored = attributes.stored()
    return row.stored == stored.model_dump_json() or row.file() == stored
