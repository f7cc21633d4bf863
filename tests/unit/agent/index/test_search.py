"""Cursors and queries over an index in a file of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.index.search import Position, look_up, look_up_path, search
from agent.problems import ProblemError
from portside.wire.files import FileQuery, StoredFile

MOMENT = datetime(2026, 11, 21, 7, tzinfo=UTC)


def _file(number: int = 0, **changed: object) -> StoredFile:
    facts: dict[str, object] = {
        "file_id": secrets.token_hex(16),
        "node_id": "s01",
        "namespace": f"ns{number % 5}",
        "owner": f"user-{number % 50}",
        "name": f"file-{number}.bin",
        "path": PurePosixPath(f"ns/{number}.bin"),
        "url": f"https://c01.portside.test/f/{number:032x}/{number}.bin",
        "direct_url": f"https://s01.portside.test/uploads/ns/{number}.bin",
        "size": number,
        "sha256": "0" * 64,
        "content_type": "application/octet-stream",
        "committed_at": MOMENT + timedelta(seconds=number),
        "receipt": "e" * 600,
    }
    return StoredFile.model_validate({**facts, **changed})


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "index.sqlite")
    yield opened
    opened.close()


def _store(database: Database, *files: StoredFile) -> None:
    assert FileIndex(database).restore([(secrets.token_hex(16), file) for file in files]) == []


@given(st.integers(-(10**17), 10**17), st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_a_cursor_comes_back_as_it_went(committed_at: int, file_id: str) -> None:
    position = Position(committed_at, file_id)
    cursor = position.cursor()
    assert Position.from_cursor(cursor) == position
    assert cursor.isascii()
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=60))
def test_what_is_no_cursor_is_a_problem(text: str) -> None:
    with pytest.raises(ProblemError, match=r"malformed-request: cursor: "):
        Position.from_cursor(text)


def test_files_of_one_moment_are_paged_by_their_ids(database: Database) -> None:
    files = [
        _file(committed_at=MOMENT, path=PurePosixPath(f"ns/{n}.bin"), name=f"{n}") for n in range(9)
    ]
    _store(database, *files)
    seen: list[str] = []
    cursor = None
    while True:
        page = search(database, FileQuery(limit=2, cursor=cursor))
        seen += [file.file_id for file in page.files]
        cursor = page.next
        if cursor is None:
            break
    assert seen == sorted((file.file_id for file in files), reverse=True)


def test_a_full_last_page_has_no_next(database: Database) -> None:
    _store(database, _file(1), _file(2))
    assert search(database, FileQuery(limit=2)).next is None
    assert search(database, FileQuery(limit=1)).next is not None


@pytest.mark.parametrize("state", ["PENDING", "DELETING", "DELETED", "QUARANTINED"])
def test_only_what_is_committed_is_listed(database: Database, state: str) -> None:
    file = _file()
    _store(database, file)
    with database.transaction() as connection:
        connection.execute("UPDATE files SET state = ?", (state,))
    assert search(database, FileQuery()).files == ()
    assert look_up_path(database, str(file.path)) is None
    known = look_up(database, file.file_id)
    assert (None if known is None else known.state) == (None if state == "PENDING" else state)


def test_a_file_is_found_by_id_and_by_path(database: Database) -> None:
    file = _file()
    FileIndex(database).begin(Intent(secrets.token_hex(16), "x", file))
    assert look_up(database, file.file_id) is None
    FileIndex(database).commit(file.file_id)
    known = look_up(database, file.file_id)
    assert known is not None
    assert known.stored == look_up_path(database, str(file.path)) == file


MANY = 10_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    opened = Database(tmp_path_factory.mktemp("many") / "index.sqlite")
    _store(opened, *(_file(number) for number in range(MANY)))
    yield opened
    opened.close()


QUERIES = [
    FileQuery(),
    FileQuery(namespace="ns3"),
    FileQuery(owner="user-7"),
    FileQuery(namespace="ns2", owner="user-7"),
    FileQuery(namespace="ns3", committed_before=MOMENT + timedelta(seconds=50)),
    FileQuery(committed_after=MOMENT + timedelta(seconds=9990)),
    FileQuery(name="file-99"),
    FileQuery(name="nowhere"),
    FileQuery(content_type="image/*"),
    FileQuery(cursor=Position(10**15 * 2, "0" * 32).cursor()),
]


def test_no_listing_sorts_or_reads_rows_that_an_index_leaves_out(many: Database) -> None:
    plans: list[str] = []

    class Spy(Database):
        """Asks SQLite how it would find the rows instead of finding them."""

        def __init__(self) -> None:
            pass

        def rows(self, query: str, parameters: object = ()) -> list[tuple[object, ...]]:
            found = many.rows(f"EXPLAIN QUERY PLAN {query}", parameters)  # type: ignore[arg-type]
            plans.append(" ".join(str(row[3]) for row in found))
            return []

    for query in QUERIES:
        search(Spy(), query)
    assert all("USING INDEX files_by_" in plan for plan in plans), plans
    assert not [plan for plan in plans if "TEMP B-TREE" in plan]
