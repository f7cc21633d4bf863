"""An index of any earlier release is taken up with all that is in it, and its steps stay as they
were: whoever edits one changes what upgrades from that release come to."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from agent.index import schema
from agent.index.database import Database
from agent.index.files import microseconds
from portside.wire.files import StoredFile

RELEASED = {
    2: "2fe1477697872a93",
    3: "dafac181bc71bfd4",
    4: "2549254a3c5ed307",
    5: "1fdd580d975f5e43",
    6: "272dd3be2a2af457",
    7: "ca2ac9fea24bc8f9",
    8: "1914686750c7e5a2",
    9: "f44ba48f222178c0",
    10: "1e4d0157c751a498",
    11: "ddfd2b5345089791",
    12: "2f81cade7c95175c",
}
"""Each step by its number: the first digits of its SHA-256. A new step gets a line when it is made,
and no line is ever changed."""

STORED = StoredFile(
    file_id="1" * 32,
    node_id="s01",
    namespace="isos",
    owner="user-7",
    name="a.iso",
    path=PurePosixPath("isos/a.iso"),
    url="https://s01.portside.test/uploads/isos/a.iso",
    size=3,
    sha256="0" * 64,
    content_type="application/octet-stream",
    committed_at=datetime(2026, 11, 22, tzinfo=UTC),
    receipt="",
)


def test_a_step_that_was_released_is_never_edited() -> None:
    now = {n: hashlib.sha256(s.encode()).hexdigest()[:16] for n, s in schema._STEPS}
    assert now == RELEASED


@pytest.mark.parametrize("version", RELEASED)
def test_an_index_of_any_earlier_release_is_taken_up_with_its_files_and_offsets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "index.sqlite"
    with monkeypatch.context() as then:
        then.setattr(schema, "_STEPS", [each for each in schema._STEPS if each[0] <= version])
        with sqlite3.connect(path, isolation_level=None) as connection:
            connection.execute("BEGIN IMMEDIATE")
            schema.create_tables(connection)
            _fill(connection)
            connection.execute("COMMIT")
        connection.close()
    database = Database(path)
    try:
        assert database.row("SELECT file_id, state FROM files") == (STORED.file_id, "COMMITTED")
        assert database.row("SELECT upload_id, offset, state FROM uploads") == ("u1", 7, "OPEN")
        assert database.row("PRAGMA user_version") == (max(RELEASED),)
        assert database.row("PRAGMA integrity_check") == ("ok",)
    finally:
        database.close()


def _fill(connection: sqlite3.Connection) -> None:
    """A file and an open upload, as the first release wrote them: later columns have defaults."""
    _insert(
        connection,
        "files",
        file_id=STORED.file_id,
        jti="j1",
        path=str(STORED.path),
        state="COMMITTED",
        staging="",
        stored=STORED.model_dump_json(),
        namespace=STORED.namespace,
        owner=STORED.owner,
        name=STORED.name,
        content_type=STORED.content_type,
        size=STORED.size,
        committed_at=microseconds(STORED.committed_at),
    )
    _insert(
        connection,
        "uploads",
        upload_id="u1",
        jti="j2",
        kind="whole",
        state="OPEN",
        staging="u1.part",
        start=0,
        length=10,
        offset=7,
        deadline=2_000_000_000,
        details=json.dumps({"claims": {"sub": "user-7", "namespace": "isos"}}),
    )


def _insert(connection: sqlite3.Connection, table: str, **values: object) -> None:
    marks = ", ".join("?" * len(values))
    connection.execute(  # the names are this file's own
        f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})",  # noqa: S608
        tuple(values.values()),
    )
