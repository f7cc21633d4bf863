"""Tombstones are kept for 30 days, then forgotten; nothing of another file goes with them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest

from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.deletion import delete
from agent.storage.quarantine import quarantine
from agent.storage.tombstones import purge
from portside.names import CANARY, attributes_path
from portside.wire.files import StoredFile
from tests.support.agent.settings import settings_of

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=100)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    database = Database(settings.index)
    yield database
    database.close()


@pytest.fixture
def commit(settings: Settings, database: Database) -> Callable[..., StoredFile]:
    """Makes a committed file, at a path and moment."""

    def make(
        path: str = "isos/a.bin", committed_at: datetime = LONG_AGO, namespace: str = "isos"
    ) -> StoredFile:
        stored = StoredFile(
            file_id=secrets.token_hex(16),
            node_id="s01",
            namespace=namespace,
            owner="user-7",
            name="a.bin",
            path=PurePosixPath(path),
            url=f"https://s01.portside.test/uploads/{path}",
            size=3,
            sha256="0" * 64,
            content_type="application/octet-stream",
            committed_at=committed_at,
            receipt="",
        )
        intent = Intent(secrets.token_hex(16), "", stored)
        place = settings.uploads / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"abc")
        _attributes(settings, stored).write_text(Attributes.of(intent).model_dump_json())
        index = FileIndex(database)
        index.begin(intent)
        index.commit(stored.file_id)
        return stored

    return make


def _attributes(settings: Settings, stored: StoredFile) -> Path:
    return settings.uploads / attributes_path(stored.path)


def _known(database: Database) -> set[str]:
    return {file_id for (file_id,) in database.rows("SELECT file_id FROM files")}


def _purge(settings: Settings, database: Database, days_later: float) -> int:
    return purge(settings, database, NOW + timedelta(days=days_later), lambda: None)


def test_a_tombstone_is_kept_for_30_days_from_the_deletion_and_then_removed(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    stored = commit()
    delete(settings, database, stored.file_id)
    assert _purge(settings, database, 29.9) == 0
    assert _known(database) == {stored.file_id}
    assert _attributes(settings, stored).exists()
    assert _purge(settings, database, 30.1) == 1
    assert _known(database) == set()
    assert not _attributes(settings, stored).exists()


def test_a_file_that_is_there_is_never_touched(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    stored = commit()
    assert _purge(settings, database, 1000) == 0
    assert _known(database) == {stored.file_id}
    assert _attributes(settings, stored).exists()


def test_a_file_that_has_the_name_since_keeps_its_attributes(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    delete(settings, database, commit().file_id)
    follower = commit()
    assert _purge(settings, database, 31) == 1
    assert _known(database) == {follower.file_id}
    kept = Attributes.model_validate_json(_attributes(settings, follower).read_bytes())
    assert kept.file_id == follower.file_id


def test_attributes_are_left_alone_while_a_commit_is_about_to_replace_them(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    stored = commit()
    delete(settings, database, stored.file_id)
    follower = stored.model_copy(update={"file_id": "f" * 32})
    FileIndex(database).begin(Intent("other-token", "f.part", follower))
    assert _purge(settings, database, 31) == 1
    assert _attributes(settings, stored).exists()


def test_the_tombstone_of_a_quarantined_file_is_removed_too(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    stored = commit()
    quarantine(settings, database, stored.file_id, "damaged")
    delete(settings, database, stored.file_id)
    assert _purge(settings, database, 31) == 1
    assert list(settings.quarantine.iterdir()) == []
    assert _known(database) == set()


def test_a_canary_leaves_nothing_behind_an_hour_later(
    settings: Settings, database: Database, commit: Callable[..., StoredFile]
) -> None:
    canary = commit(f"{CANARY}/a.bin", committed_at=NOW - timedelta(minutes=1), namespace=CANARY)
    other = commit("isos/b.bin", committed_at=NOW - timedelta(minutes=1))
    for each in (canary, other):
        delete(settings, database, each.file_id)
    assert _purge(settings, database, 0.5 / 24) == 0
    # NOW is of when the tests were collected, which may be a while ago.
    assert _purge(settings, database, 3 / 24) == 1
    assert _known(database) == {other.file_id}
    assert not _attributes(settings, canary).exists()
