"""The node's digest is that of its committed files, however they came in or went out."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from agent.index import inventory_digest, schema
from agent.index.database import Database
from agent.index.inventory_digest import Inventory
from portside.inventory import EMPTY, toggled


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "index.sqlite")


def _add(database: Database, *file_ids: str, state: str = "COMMITTED") -> None:
    with database.transaction() as connection:
        connection.executemany(
            "INSERT INTO files VALUES (?, ?, ?, ?, '', '{}', 'n', 'o', 'a', 't', 1, 1, NULL)",
            [(each, f"jti-{each}", f"n/{each}", state) for each in file_ids],
        )


def _change(database: Database, statement: str) -> None:
    with database.transaction() as connection:
        connection.execute(statement)


def test_no_files_have_the_empty_digest(database: Database) -> None:
    assert Inventory(database).digest() == EMPTY


def test_it_follows_commits_deletions_and_removals(database: Database) -> None:
    held = Inventory(database)
    _add(database, "a", "b", "c")
    _add(database, "d", state="PENDING")
    assert held.digest() == toggled(EMPTY, "abc")
    _change(database, "UPDATE files SET state = 'COMMITTED' WHERE file_id = 'd'")
    _change(database, "UPDATE files SET state = 'DELETING' WHERE file_id = 'a'")
    _change(database, "UPDATE files SET state = 'DELETED' WHERE file_id = 'a'")
    _change(database, "UPDATE files SET state = 'QUARANTINED' WHERE file_id = 'b'")
    _change(database, "DELETE FROM files WHERE file_id = 'c'")
    _change(database, "UPDATE files SET state = 'COMMITTED' WHERE state = 'COMMITTED'")
    assert held.digest() == toggled(EMPTY, "d")


def test_what_is_worked_in_is_kept_and_not_read_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory_digest, "FOLD", 3)
    monkeypatch.setattr(inventory_digest, "BATCH", 4)
    _add(database, *"abcdefghij")
    assert Inventory(database).digest() == toggled(EMPTY, "abcdefghij")
    assert database.rows("SELECT file_id FROM inventory_changes") == [("i",), ("j",)]
    _change(database, "DELETE FROM files WHERE file_id = 'a'")
    assert Inventory(database).digest() == toggled(EMPTY, "bcdefghij")
    assert database.rows("SELECT 1 FROM inventory_changes") == []


def test_files_of_an_index_from_before_are_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(schema, "_STEPS", schema._STEPS[:1])
        old = Database(tmp_path / "index.sqlite")
        _add(old, "a", "b")
        old.close()
    new = Database(tmp_path / "index.sqlite")
    assert Inventory(new).digest() == toggled(EMPTY, "ab")
    new.close()
    again = Database(tmp_path / "index.sqlite")
    assert Inventory(again).digest() == toggled(EMPTY, "ab")


def test_a_commit_that_is_undone_leaves_no_trace(database: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError), database.transaction() as connection:
        connection.execute(
            "INSERT INTO files VALUES ('a', 'j', 'p', 'COMMITTED', '', '', '', '', '', '', 1, 1, 1)"
        )
        connection.execute(
            "INSERT INTO files VALUES ('a', 'j', 'p', 'COMMITTED', '', '', '', '', '', '', 1, 1, 1)"
        )
    assert Inventory(database).digest() == EMPTY
