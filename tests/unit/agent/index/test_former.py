"""What a node had: whichever way a file goes, its path leads on, or says that it was deleted."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from agent.index import former, schema
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.index.former import Fate, Former
from portside.wire.files import StoredFile


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def _file(path: str = "isos/a.bin") -> StoredFile:
    file_id = secrets.token_hex(16)
    return StoredFile(
        file_id=file_id,
        node_id="s01",
        namespace="isos",
        owner="user-7",
        name="ä.bin",
        path=PurePosixPath(path),
        url=f"https://c01.portside.test/f/{file_id}/a.bin",
        direct_url=f"https://s01.portside.test/uploads/{path}",
        size=1,
        sha256="0" * 64,
        content_type="application/octet-stream",
        committed_at=datetime.now(UTC),
        receipt="",
    )


def _committed(database: Database, path: str = "isos/a.bin") -> str:
    file = _file(path)
    FileIndex(database).begin(Intent(secrets.token_hex(16), "x", file))
    FileIndex(database).commit(file.file_id)
    return file.file_id


def _state(database: Database, file_id: str, state: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE files SET state = ? WHERE file_id = ?", (state, file_id))


def _deleted(database: Database, file_id: str) -> None:
    _state(database, file_id, "DELETING")
    _state(database, file_id, "DELETED")


def _copy_removed(database: Database, file_id: str) -> None:
    _state(database, file_id, "DELETING")
    with database.transaction() as connection:
        connection.execute("DELETE FROM files WHERE file_id = ?", (file_id,))


def _condemned(database: Database, file_id: str) -> None:
    _state(database, file_id, "QUARANTINED")


def _lost(database: Database, file_id: str) -> None:
    FileIndex(database).forget_lost(file_id)


@pytest.mark.parametrize(
    ("went", "fate"),
    [(_deleted, "deleted"), (_copy_removed, "moved"), (_condemned, "moved"), (_lost, "moved")],
)
def test_whichever_way_a_file_goes_its_path_is_remembered(
    database: Database, went: Callable[[Database, str], None], fate: Fate
) -> None:
    file_id = _committed(database)
    assert former.at_path(database, "isos/a.bin") is None
    went(database, file_id)
    expected = Former("isos/a.bin", file_id, "ä.bin", fate)
    assert former.at_path(database, "isos/a.bin") == expected
    assert former.of_file(database, file_id) == expected


def test_what_was_quarantined_and_then_deleted_is_deleted(database: Database) -> None:
    file_id = _committed(database)
    _condemned(database, file_id)
    _deleted(database, file_id)
    found = former.of_file(database, file_id)
    assert found is not None
    assert found.fate == "deleted"


def test_the_last_file_at_a_path_counts(database: Database) -> None:
    first = _committed(database)
    _deleted(database, first)
    second = _committed(database)
    _copy_removed(database, second)
    found = former.at_path(database, "isos/a.bin")
    assert found is not None
    assert (found.file_id, found.fate) == (second, "moved")


def test_an_undone_commit_was_never_here(database: Database) -> None:
    file = _file()
    FileIndex(database).begin(Intent("token-0001", "x", file))
    FileIndex(database).roll_back(file.file_id)
    assert former.of_file(database, file.file_id) is None


def test_tombstones_that_an_index_is_rebuilt_from_are_remembered(database: Database) -> None:
    file = _file()
    assert FileIndex(database).restore([("token-0001", file)], "DELETED") == []
    # A second one at its path: no error, the last counts.
    again = _file()
    assert FileIndex(database).restore([("token-0002", again)], "DELETED") == []
    found = former.at_path(database, "isos/a.bin")
    assert found is not None
    assert (found.file_id, found.fate) == (again.file_id, "deleted")


def test_tombstones_outlived_are_remembered_all_the_same(database: Database) -> None:
    file_id = _committed(database)
    _deleted(database, file_id)
    with database.transaction() as connection:
        connection.execute("DELETE FROM files WHERE file_id = ?", (file_id,))
    found = former.at_path(database, "isos/a.bin")
    assert found is not None
    assert found.fate == "deleted"


def test_only_so_many_are_kept_and_the_oldest_go(database: Database) -> None:
    for number in range(5):
        _deleted(database, _committed(database, f"isos/{number}.bin"))
    with database.transaction() as connection:
        former.drop_oldest(connection, most=2)
    left = [number for number in range(5) if former.at_path(database, f"isos/{number}.bin")]
    assert left == [3, 4]


def test_an_index_of_an_older_release_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.sqlite"
    with monkeypatch.context() as older:
        older.setattr(schema, "_STEPS", schema._STEPS[:4])
        database = Database(path)
        file_id = _committed(database)
        _deleted(database, file_id)
        with pytest.raises(sqlite3.OperationalError):
            former.of_file(database, file_id)
        database.close()
    database = Database(path)
    found = former.of_file(database, file_id)
    assert found is not None
    assert found.fate == "deleted"
    database.close()
