"""What is told of files that are gone: in order, bounded, and nothing that isn't so any more."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.index import removals
from agent.index.database import Database
from portside.wire.heartbeat import MOST_GONE, WhyGone


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def _note(database: Database, number: int, why: WhyGone = "damaged") -> None:
    with database.transaction() as connection:
        removals.note(connection, f"{number:032x}", why)


def _told(database: Database) -> list[tuple[int, str]]:
    return [(int(each.file.file_id, 16), each.file.why) for each in removals.to_tell(database)]


def test_the_oldest_are_told_first_and_no_more_than_a_heartbeat_takes(database: Database) -> None:
    database.take_note("gone", "a note of another kind")
    database.take_note("gonf:", "and one more")
    numbers = list(range(MOST_GONE + 3, 0, -1))
    for number in numbers:
        _note(database, number)
    assert [number for number, _ in _told(database)] == numbers[:MOST_GONE]
    removals.told(database, removals.to_tell(database))
    assert [number for number, _ in _told(database)] == numbers[MOST_GONE:]
    assert database.note("gone") and database.note("gonf:")


def test_a_file_that_is_damaged_again_while_it_is_told_is_told_again(database: Database) -> None:
    _note(database, 1)
    telling = removals.to_tell(database)
    with database.transaction() as connection:
        removals.drop(connection, f"{1:032x}")
    assert _told(database) == []
    _note(database, 1)
    removals.told(database, telling)
    assert _told(database) == [(1, "damaged")]


def test_a_damaged_file_that_is_deleted_then_is_told_as_deleted(database: Database) -> None:
    _note(database, 1)
    telling = removals.to_tell(database)
    _note(database, 1, "deleted")
    removals.told(database, telling)
    assert _told(database) == [(1, "deleted")]


def test_what_nobody_wants_to_hear_is_dropped_in_the_end(database: Database) -> None:
    _note(database, 1)
    now = datetime.now(UTC)
    with database.transaction() as connection:
        removals.drop_older(connection, now - timedelta(days=30))
    assert _told(database) == [(1, "damaged")]
    with database.transaction() as connection:
        removals.drop_older(connection, now + timedelta(seconds=2))
    assert _told(database) == []
