"""What may be restored: a sound database of this cluster's that this release understands."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from control.cluster import backup_check
from control.cluster.backup_check import BackupRefused
from control.db.database import Database
from tests.support.control.cluster import FakeNodes
from tests.support.control.core import Core


@pytest.fixture
def ours(core: Core, tmp_path: Path) -> Core:
    """A cluster with two files, and its roster where the deploy writes it."""
    for _ in range(2):
        core.stores("s01", "s02")
    roster = core.nodes.roster().model_dump_json(exclude_none=True)
    core.settings.roster.write_text(roster)
    return core


def _examined(core: Core, change: Callable[[Path], object], tmp_path: Path) -> str:
    """What is said of a copy of the cluster's SQLite database that was changed."""
    path = tmp_path / "backup.sqlite"
    with closing(sqlite3.connect(core.database.engine.url.database or "")) as source:
        source.execute("VACUUM INTO ?", (str(path),))
    change(path)
    database = Database(f"sqlite:///{path}", connections=2)
    try:
        return backup_check.examine(database, core.settings)
    finally:
        database.close()


def _execute(statement: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(statement)

    return change


def test_a_database_of_this_cluster_is_described(ours: Core) -> None:
    said = backup_check.examine(ours.database, ours.settings)
    assert "3 nodes, 2 files" in said


def _damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_damaged, "it is damaged"),
        (_execute("UPDATE alembic_version SET version_num = '9999'"), "newer than this release"),
        (_execute("DROP TABLE alembic_version"), "no schema of one"),
        (_execute("DROP TABLE nodes"), "no table of nodes"),
    ],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_can_not_be_restored_here_is_refused_with_a_line(
    ours: Core, tmp_path: Path, change: Callable[[Path], object], why: str
) -> None:
    with pytest.raises(BackupRefused, match=why):
        _examined(ours, change, tmp_path)


def test_a_database_of_another_cluster_is_refused(ours: Core) -> None:
    others = FakeNodes().roster()
    ours.settings.roster.write_text(others.model_dump_json(exclude_none=True))
    with pytest.raises(BackupRefused, match=r"of another cluster.*s01, s02, s03"):
        backup_check.examine(ours.database, ours.settings)
    # One node that was made anew since makes no other cluster.
    mixed = ours.nodes.roster()
    mixed = mixed.model_copy(update={"nodes": (others.nodes[0], *mixed.nodes[1:])})
    ours.settings.roster.write_text(mixed.model_dump_json(exclude_none=True))
    assert "3 nodes" in backup_check.examine(ours.database, ours.settings)


def test_without_a_roster_nobody_can_say(ours: Core) -> None:
    ours.settings.roster.unlink()
    with pytest.raises(BackupRefused, match="deploy the roster first"):
        backup_check.examine(ours.database, ours.settings)


def test_a_database_with_nothing_in_it_may_be_anybodys(
    ours: Core, tmp_path: Path, migrated_sqlite: Path
) -> None:
    path = tmp_path / "empty.sqlite"
    shutil.copyfile(migrated_sqlite, path)
    database = Database(f"sqlite:///{path}", connections=2)
    assert "0 nodes, 0 files" in backup_check.examine(database, ours.settings)
    database.close()
