"""Mending what `agent.integrity.diagnosis` names. The only copy of bytes is moved, never removed.

What belongs to nobody known goes to `quarantine/` as `stray-<16 hex>.data` and `.attr.json`, with a
`.why.json` beside it that tells from where and for what reason. Every step is durable before the
next one, and in an order in which a cut leaves something that the next run finds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from agent.host import filesystem
from agent.host.directories import make_directories
from agent.index.database import Database
from agent.index.files import FileIndex
from agent.integrity.diagnosis import Finding, Kind, Place, Row, is_described_by
from agent.integrity.inspection import lstat, row_at
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.deletion import delete
from agent.storage.holds import finish_hold
from agent.storage.permissions import folder_mode
from agent.storage.quarantine import DATA_SUFFIX, quarantine
from agent.storage.staging import ATTRIBUTES_SUFFIX as TEMPORARY_SUFFIX
from portside import durable_file
from portside.names import ATTRIBUTES_SUFFIX, attributes_path

WHY_SUFFIX = ".why.json"


class Repair:
    """Mends the places of one node's files."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._index = FileIndex(database)
        self._disk = filesystem.of(settings.root)
        self._acts: dict[Kind, Callable[[Place, Finding], str]] = {
            Kind.LOST: self._record_loss,
            Kind.SIZE_MISMATCH: self._quarantine,
            Kind.DIGEST_MISMATCH: self._quarantine,
            Kind.UNREADABLE_DATA: self._quarantine,
            Kind.UNKNOWN_DATA: self._set_aside,
            Kind.WITHOUT_ATTRIBUTES: self._set_aside,
            Kind.STRAY_ATTRIBUTES: self._set_aside,
            Kind.CONFLICT: self._set_aside,
            Kind.BAD_ATTRIBUTES: self._describe_again,
            Kind.MISPLACED: self._put_back,
            Kind.WITHOUT_ROW: self._restore_row,
            Kind.OUTDATED_ROW: self._restore_row,
            Kind.TOMBSTONE_WITHOUT_ROW: self._restore_tombstone,
            Kind.HALF_DELETED: self._finish_deletion,
        }

    def mend(self, place: Place, finding: Finding) -> Finding:
        """Do what the finding asks for; the finding that tells what was done.

        What is none of the mender's is returned as it is. Raises OSError, sqlite3.Error, DiskFull
        or DiskFailed.
        """
        act = self._acts.get(finding.kind)
        return finding if act is None else replace(finding, done=act(place, finding))

    def _record_loss(self, place: Place, finding: Finding) -> str:
        kept = self._set_aside(place, finding)
        if place.at_path is not None:
            self._index.forget_lost(place.at_path.file_id)
        return f"what is known of it {kept}"

    def _quarantine(self, place: Place, finding: Finding) -> str:
        file_id = finding.file_id
        if file_id is None:
            raise AssertionError(f"damage without a file: {finding}")
        if place.at_path is None:
            attributes = _described(place)
            if self._index.restore([(attributes.jti, attributes.stored())]):
                return self._set_aside(place, finding)
        elif not is_described_by(place, place.at_path):
            # Beside the data lie no attributes of its own: the row's go with it.
            self._move_attributes_aside(place, finding)
            self._write_attributes(place.at_path)
        quarantine(self._settings, self._database, file_id, finding.detail)
        return f"moved to quarantine/{file_id}{DATA_SUFFIX}"

    def _describe_again(self, place: Place, finding: Finding) -> str:
        self._move_attributes_aside(place, finding)
        if place.at_path is None:
            raise AssertionError(f"nothing to write attributes from: {finding}")
        self._write_attributes(place.at_path)
        return "attributes written again from the index"

    def _restore_row(self, place: Place, finding: Finding) -> str:
        attributes = _described(place)
        if finish_hold(self._settings, self._database, attributes.file_id):
            # Of the two the row was right.
            return "its hold or release finished"
        if self._index.restore([(attributes.jti, attributes.stored())]):
            return self._set_aside(place, finding)
        return "row written from its attributes"

    def _restore_tombstone(self, place: Place, finding: Finding) -> str:
        attributes = _described(place)
        if self._index.restore([(attributes.jti, attributes.stored())], "DELETED"):
            return self._set_aside(place, finding)
        return "its token is used again"

    def _finish_deletion(self, place: Place, finding: Finding) -> str:
        attributes = _described(place)
        if place.at_path is None:
            if self._index.restore([(attributes.jti, attributes.stored())], "DELETING"):
                return self._set_aside(place, finding)
            if row_at(self._database, place.path) is None:
                # The index holds it as deleted: then data that came back is not its business.
                return self._set_aside(place, finding)
        delete(self._settings, self._database, attributes.file_id, attributes.deletion_order)
        return "deletion finished"

    def _put_back(self, place: Place, finding: Finding) -> str:
        """Rename a file to where its attributes say it belongs, unless something is there."""
        attributes = _described(place)
        source = self._settings.uploads / place.path
        target = self._settings.uploads / attributes.path
        rows = (row_at(self._database, str(attributes.path)), place.of_file)
        is_free = lstat(target) is None and lstat(_beside(target)) is None
        if not is_free or not all(row is None or _may_return(row, attributes) for row in rows):
            return self._set_aside(place, finding)
        # With a row and data a cut leaves what can be described again; the reverse could not.
        self._index.restore([(attributes.jti, attributes.stored())])
        self._make_folder(attributes.path.parent)
        self._disk.rename_without_replacing(source, target)
        self._disk.rename_without_replacing(_beside(source), _beside(target))
        self._disk.sync_directory(target.parent)
        self._disk.sync_directory(source.parent)
        return f"put back to uploads/{attributes.path}"

    def _set_aside(self, place: Place, finding: Finding) -> str:
        """Move whatever lies at the place to the quarantine under a name of its own."""
        name = self._explained(place, finding)
        data = self._settings.uploads / place.path
        # Attributes first: while the data is there, no upload can put a file of its own there.
        self._move(_beside(data), self._settings.quarantine / (name + ATTRIBUTES_SUFFIX))
        if place.size is not None:
            self._move(data, self._settings.quarantine / (name + DATA_SUFFIX))
        self._sync_move(data.parent)
        return f"moved to quarantine/{name}.*"

    def _move_attributes_aside(self, place: Place, finding: Finding) -> None:
        if place.attributes is None:
            return
        name = self._explained(place, finding)
        described = _beside(self._settings.uploads / place.path)
        self._move(described, self._settings.quarantine / (name + ATTRIBUTES_SUFFIX))
        self._sync_move(described.parent)

    def _explained(self, place: Place, finding: Finding) -> str:
        """A new name in the quarantine, with a note that says what is kept under it and why."""
        name = f"stray-{secrets.token_hex(8)}"
        row = place.at_path
        note = {
            "path": place.path,
            "kind": finding.kind.label,
            "detail": finding.detail,
            "file_id": finding.file_id,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            # Where attributes are gone too, this is all that is left.
            "row": None if row is None else row.attributes().model_dump(mode="json"),
        }
        durable_file.write(
            self._settings.quarantine / (name + WHY_SUFFIX),
            json.dumps(note).encode() + b"\n",
            0o640,
            new=True,
        )
        return name

    def _sync_move(self, source: Path) -> None:
        # The new name first: a power cut may leave both, never neither.
        self._disk.sync_directory(self._settings.quarantine)
        if source.exists():
            self._disk.sync_directory(source)

    def _move(self, source: Path, target: Path) -> None:
        if lstat(source) is not None:
            self._disk.rename_without_replacing(source, target)

    def _write_attributes(self, row: Row) -> None:
        """The attributes that a row's file should have, at its place. Replaces what is there."""
        path = PurePosixPath(row.path)
        name = f"{row.file_id}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
        temporary = self._settings.staging / name
        durable_file.write(
            temporary, row.attributes().model_dump_json().encode() + b"\n", 0o640, new=True
        )
        self._make_folder(path.parent)
        temporary.rename(self._settings.uploads / attributes_path(path))
        self._disk.sync_directory(self._settings.uploads / path.parent)

    def _make_folder(self, folder: PurePosixPath) -> None:
        mode = folder_mode(self._settings, folder.parts[0])
        make_directories(self._disk, self._settings.uploads, folder, mode)


def _described(place: Place) -> Attributes:
    if not isinstance(place.attributes, Attributes):
        raise AssertionError(f"no attributes at {place.path}")
    return place.attributes


def _may_return(row: Row, attributes: Attributes) -> bool:
    """Whether a row is that of the file to be put back, and says that it should be there."""
    return row.state == "COMMITTED" and row.file_id == attributes.file_id


def _beside(data: Path) -> Path:
    return data.with_name(data.name + ATTRIBUTES_SUFFIX)
