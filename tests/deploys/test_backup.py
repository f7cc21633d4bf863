"""The control plane's backups: whole, read back, bounded in number, and good to restore from."""

from __future__ import annotations

import getpass
import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deploys import layout
from deploys.components.control_database import backup_command
from portside.cluster.file import parse
from tests.support.cluster_files import CLUSTER

KEPT = 3
Backup = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database in use: what was written last is in its log, not in its file."""
    path = tmp_path / "state" / "control.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("CREATE TABLE files (name TEXT)")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "backups"
    made.mkdir()
    return made


@pytest.fixture
def backup(tmp_path: Path, database: Path, folder: Path) -> Backup:
    """The command as it is deployed, on places of this test."""
    text = backup_command(parse(CLUSTER + f"control: {{backups: {KEPT}}}\n"))
    for old, new in (
        (layout.CONTROL_DATABASE, str(database)),
        (layout.CONTROL_BACKUPS, str(folder)),
        (f'USER = "{layout.CONTROL_USER}"', f'USER = "{getpass.getuser()}"'),
    ):
        assert old in text
        text = text.replace(old, new)
    command = tmp_path / "backup"
    command.write_text(text)
    # What stops and starts services, and migrates, only says so here.
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "runuser"):
        (programs / name).write_text('#!/bin/sh\necho "$(basename $0) $*" >> $CALLS\n')
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/usr/bin/python3", "-I", str(command), *arguments],
            env={"PATH": f"{programs}:{os.environ['PATH']}", "CALLS": str(calls)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def _names(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT name FROM files ORDER BY name")]


def test_a_backup_holds_what_was_committed_while_the_database_is_written(
    backup: Backup, database: Path, folder: Path
) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("INSERT INTO files VALUES ('committed')")
        writer.commit()
        writer.execute("INSERT INTO files VALUES ('under way')")
        done = backup()
        writer.rollback()
    assert done.returncode == 0, done.stderr
    [made] = folder.iterdir()
    assert done.stdout == f"{made}\n"
    assert _names(made) == ["committed"]
    assert made.stat().st_mode & 0o777 == 0o600


def test_the_newest_are_kept(backup: Backup, folder: Path) -> None:
    old = [folder / f"control-2026010{day}T000000Z.sqlite" for day in range(1, 6)]
    for path in old:
        path.touch()
    (folder / ".control-left").touch()
    (folder / "mine.sqlite").touch()
    assert backup().returncode == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names[:2] == [path.name for path in old[-2:]]
    assert (len(names), names[-1]) == (KEPT + 1, "mine.sqlite")


def test_a_backup_that_can_not_be_made_leaves_the_older_ones(
    backup: Backup, database: Path, folder: Path
) -> None:
    assert backup().returncode == 0
    before = sorted(folder.iterdir())
    database.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    done = backup()
    assert done.returncode == 1
    assert "not a database" in done.stderr
    assert sorted(folder.iterdir()) == before


def test_a_backup_is_restored_and_the_services_go_on(
    backup: Backup, database: Path, folder: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("INSERT INTO files VALUES ('then')")
        writer.commit()
        assert backup().returncode == 0
        writer.execute("DELETE FROM files")
        writer.execute("INSERT INTO files VALUES ('since')")
        writer.commit()
        [made] = folder.iterdir()
        # The log of what is replaced is still there, as after a crash.
        done = backup("restore", str(made))
    assert done.returncode == 0, done.stderr
    assert _names(database) == ["then"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["stop", "-u", "start"]
    assert calls[1].endswith("portside-control migrate")


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_what_is_no_backup_stops_nothing(
    backup: Backup, database: Path, tmp_path: Path, content: bytes
) -> None:
    wrong = tmp_path / "wrong.sqlite"
    wrong.write_bytes(content)
    done = backup("restore", str(wrong))
    assert done.returncode == 1
    assert "no backup that can be used" in done.stderr
    assert not (tmp_path / "calls").exists()
    assert _names(database) == []
