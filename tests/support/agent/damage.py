"""Everything that may befall a node's files, done by hand, and what fsck is to make of it."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from agent import settings as settings_module
from agent.cluster import identity
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.integrity.diagnosis import Kind
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.commit import Committer
from agent.storage.quarantine import quarantine
from portside.wire.files import StoredFile
from tests.support.agent.process import Agent


class Node:
    """A node's root as its agent sees it, to commit files to it and to damage them."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.settings: Settings = settings_module.load(agent.home / "agent.toml")
        self.database = Database(self.settings.index)
        self.index = FileIndex(self.database)
        key = identity.load(self.settings.node_key, self.settings.node_id)
        self.committer = Committer(self.settings, self.index, key)

    def intent(self, name: str, data: bytes, **claims: object) -> Intent:
        """A commit that is about to begin: its data is staged."""
        token = self.agent.claims(**claims)
        staging = f"{token.file_id}.{secrets.token_hex(4)}.part"
        (self.settings.staging / staging).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        stored = self.committer.describe(token, name, len(data), digest)
        return Intent(token.jti, staging, stored)

    def commit(self, name: str, data: bytes, **claims: object) -> StoredFile:
        """A committed file, by the code that commits uploads."""
        intent = self.intent(name, data, **claims)
        self.committer.commit(intent)
        return intent.stored

    def data(self, file: StoredFile) -> Path:
        """Where a file's data is."""
        return self.settings.uploads / file.path

    def beside(self, file: StoredFile) -> Path:
        """Where a file's attributes are."""
        return self.data(file).with_name(file.path.name + ".attr.json")

    def attributes(self, file: StoredFile, **changed: object) -> Attributes:
        """A file's attributes with some of them changed."""
        attributes = Attributes.model_validate_json(self.beside(file).read_bytes())
        return attributes.model_copy(update=changed)

    def write(self, path: Path, attributes: Attributes) -> None:
        """Attributes at any path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(attributes.model_dump_json())

    def sql(self, statement: str, *parameters: object) -> None:
        """A change of the index."""
        with self.database.transaction() as connection:
            connection.execute(statement, parameters)

    def forget(self, file: StoredFile) -> None:
        """Remove a file's row."""
        self.sql("DELETE FROM files WHERE file_id = ?", file.file_id)

    def set_state(self, file: StoredFile, state: str) -> None:
        """Change a row's state."""
        self.sql("UPDATE files SET state = ? WHERE file_id = ?", state, file.file_id)


@dataclass(frozen=True)
class Damage:
    """Something done to one file, the finding it makes, and whether mending makes it whole."""

    name: str
    kind: Kind
    do: Callable[[Node, StoredFile], None]
    survives: bool = False
    keeps_bytes: bool = True
    """Whether the file's bytes are still somewhere below the root afterwards."""
    needs_digests: bool = False


def _data_gone(node: Node, file: StoredFile) -> None:
    node.data(file).unlink()


def _all_gone(node: Node, file: StoredFile) -> None:
    node.data(file).unlink()
    node.beside(file).unlink()


def _data_and_row_gone(node: Node, file: StoredFile) -> None:
    node.data(file).unlink()
    node.forget(file)


def _attributes_gone(node: Node, file: StoredFile) -> None:
    node.beside(file).unlink()


def _attributes_torn(node: Node, file: StoredFile) -> None:
    node.beside(file).write_bytes(node.beside(file).read_bytes()[:50])


def _attributes_of_another(node: Node, file: StoredFile) -> None:
    other = node.commit("other.bin", b"other")
    shutil.copy(node.beside(other), node.beside(file))


def _nothing_tells(node: Node, file: StoredFile) -> None:
    _attributes_gone(node, file)
    node.forget(file)


def _only_torn_attributes_tell(node: Node, file: StoredFile) -> None:
    _attributes_torn(node, file)
    node.forget(file)


def _row_gone(node: Node, file: StoredFile) -> None:
    node.forget(file)


def _row_outdated(node: Node, file: StoredFile) -> None:
    other = file.model_copy(update={"owner": "somebody-else"})
    node.sql("UPDATE files SET stored = ? WHERE file_id = ?", other.model_dump_json(), file.file_id)


def _cut_short(node: Node, file: StoredFile) -> None:
    os.truncate(node.data(file), file.size - 1)


def _cut_short_without_row(node: Node, file: StoredFile) -> None:
    _cut_short(node, file)
    node.forget(file)


def _cut_short_without_attributes(node: Node, file: StoredFile) -> None:
    _cut_short(node, file)
    _attributes_gone(node, file)


def _bit_flipped(node: Node, file: StoredFile) -> None:
    data = bytearray(node.data(file).read_bytes())
    data[len(data) // 2] ^= 1
    node.data(file).write_bytes(data)


def _bit_flipped_and_attributes_gone(node: Node, file: StoredFile) -> None:
    _bit_flipped(node, file)
    _attributes_gone(node, file)


def _moved_away(node: Node, file: StoredFile) -> None:
    for path in (node.data(file), node.beside(file)):
        path.rename(node.settings.uploads / "isos" / path.name)


def _copied(node: Node, file: StoredFile) -> None:
    for path in (node.data(file), node.beside(file)):
        shutil.copy(path, node.settings.uploads / "isos" / path.name)


def _attributes_copied(node: Node, file: StoredFile) -> None:
    path = node.beside(file)
    shutil.copy(path, node.settings.uploads / "isos" / path.name)


def _token_of_another(node: Node, file: StoredFile) -> None:
    other = node.commit("other.bin", b"other")
    node.forget(file)
    node.write(node.beside(file), node.attributes(file, jti=node.attributes(other).jti))


def _tombstone_with_data(node: Node, file: StoredFile) -> None:
    node.write(node.beside(file), node.attributes(file, deleted_at=datetime.now(UTC)))
    node.forget(file)


def _tombstone_with_other_data(node: Node, file: StoredFile) -> None:
    _tombstone_with_data(node, file)
    node.data(file).write_bytes(os.urandom(file.size))


def _tombstone_without_row(node: Node, file: StoredFile) -> None:
    _tombstone_with_data(node, file)
    node.data(file).unlink()


def _deletion_cut(node: Node, file: StoredFile) -> None:
    node.set_state(file, "DELETING")


def _quarantine_cut(node: Node, file: StoredFile) -> None:
    node.set_state(file, "QUARANTINED")


def _quarantine_cut_between(node: Node, file: StoredFile) -> None:
    node.set_state(file, "QUARANTINED")
    node.beside(file).rename(node.settings.quarantine / f"{file.file_id}.attr.json")


def _quarantined_and_forgotten(node: Node, file: StoredFile) -> None:
    quarantine(node.settings, node.database, file.file_id, "a test")
    node.forget(file)


def _stale_staging(node: Node, file: StoredFile) -> None:
    (node.settings.staging / f"{secrets.token_hex(16)}.{secrets.token_hex(4)}.part").touch()


def _stale_temporary_attributes(node: Node, file: StoredFile) -> None:
    name = f"{secrets.token_hex(16)}.{secrets.token_hex(4)}.part.attr"
    (node.settings.staging / name).write_bytes(b"{")


def _commit_cut(node: Node, file: StoredFile) -> None:
    node.index.begin(node.intent("cut.bin", b"staged"))


def _commit_cut_without_data(node: Node, file: StoredFile) -> None:
    intent = node.intent("cut.bin", b"staged")
    node.index.begin(intent)
    (node.settings.staging / intent.staging).unlink()


def _folder_left(node: Node, file: StoredFile) -> None:
    hour = PurePosixPath("isos/2020/01/02", f"{time.time_ns() % 24:02}")
    (node.settings.uploads / hour).mkdir(parents=True, exist_ok=True)


DAMAGES = (
    Damage("data gone", Kind.LOST, _data_gone, keeps_bytes=False),
    Damage("data and attributes gone", Kind.LOST, _all_gone, keeps_bytes=False),
    Damage("data and row gone", Kind.LOST, _data_and_row_gone, keeps_bytes=False),
    Damage("attributes gone", Kind.BAD_ATTRIBUTES, _attributes_gone, survives=True),
    Damage("attributes torn", Kind.BAD_ATTRIBUTES, _attributes_torn, survives=True),
    Damage("attributes of another", Kind.BAD_ATTRIBUTES, _attributes_of_another, survives=True),
    Damage("nothing tells of data", Kind.WITHOUT_ATTRIBUTES, _nothing_tells),
    Damage("only torn attributes", Kind.UNKNOWN_DATA, _only_torn_attributes_tell),
    Damage("row gone", Kind.WITHOUT_ROW, _row_gone, survives=True),
    Damage("row outdated", Kind.OUTDATED_ROW, _row_outdated, survives=True),
    Damage("cut short", Kind.SIZE_MISMATCH, _cut_short, keeps_bytes=False),
    Damage("cut short, no row", Kind.SIZE_MISMATCH, _cut_short_without_row, keeps_bytes=False),
    Damage(
        "cut short, no attributes",
        Kind.SIZE_MISMATCH,
        _cut_short_without_attributes,
        keeps_bytes=False,
    ),
    Damage(
        "bit flipped", Kind.DIGEST_MISMATCH, _bit_flipped, keeps_bytes=False, needs_digests=True
    ),
    Damage(
        "bit flipped, no attributes",
        Kind.DIGEST_MISMATCH,
        _bit_flipped_and_attributes_gone,
        keeps_bytes=False,
    ),
    Damage("moved away", Kind.MISPLACED, _moved_away, survives=True),
    Damage("copied", Kind.MISPLACED, _copied, survives=True),
    Damage("attributes copied", Kind.STRAY_ATTRIBUTES, _attributes_copied, survives=True),
    Damage("token of another", Kind.CONFLICT, _token_of_another),
    Damage("tombstone with data", Kind.HALF_DELETED, _tombstone_with_data, keeps_bytes=False),
    Damage(
        "tombstone with other data",
        Kind.WITHOUT_ATTRIBUTES,
        _tombstone_with_other_data,
        keeps_bytes=False,
    ),
    Damage(
        "tombstone without row",
        Kind.TOMBSTONE_WITHOUT_ROW,
        _tombstone_without_row,
        keeps_bytes=False,
    ),
    Damage("deletion cut", Kind.HALF_DELETED, _deletion_cut, keeps_bytes=False),
    Damage("quarantine cut", Kind.HALF_QUARANTINED, _quarantine_cut),
    Damage("quarantine cut between", Kind.HALF_QUARANTINED, _quarantine_cut_between),
    Damage("quarantined, no row", Kind.QUARANTINED_WITHOUT_ROW, _quarantined_and_forgotten),
    Damage("stale staging", Kind.STALE_STAGING, _stale_staging, survives=True),
    Damage("stale attributes", Kind.STALE_STAGING, _stale_temporary_attributes, survives=True),
    Damage("commit cut", Kind.CUT_COMMIT, _commit_cut, survives=True),
    Damage("commit cut, no data", Kind.CUT_COMMIT, _commit_cut_without_data, survives=True),
    Damage("folder left", Kind.EMPTY_FOLDER, _folder_left, survives=True),
)
