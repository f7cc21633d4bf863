"""The control plane's backups: whole, read back, bounded in number, and good to restore from."""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
    # What stops and starts services, examines and migrates only says so here; what is named in
    # `fails` fails.
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = '#!/bin/sh\necho "$(basename $0) $*" >> $CALLS\n! echo "$*" | grep -qwf $CALLS.fails\n'
    for name in ("systemctl", "runuser"):
        (programs / name).write_text(fake)
        (programs / name).chmod(0o755)
    calls = tmp_path / "calls"
    (tmp_path / "calls.fails").touch()

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
    made = _with_a_backup_and_a_log(backup, database, folder)
    done = backup("restore", str(made))
    assert done.returncode == 0, done.stderr
    assert _names(database) == ["then"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["-u", "stop", "-u", "start"]
    assert "portside-control examine sqlite:////" in calls[0]
    assert calls[2].endswith("portside-control migrate --restored")
    assert not list(database.parent.glob("*.candidate*"))


def test_what_a_restore_replaces_is_set_aside_with_its_log_and_can_be_had_back(
    backup: Backup, database: Path, folder: Path
) -> None:
    made = _with_a_backup_and_a_log(backup, database, folder)
    done = backup("restore", str(made))
    [aside] = [path for path in database.parent.glob("*.before-*Z") if path.is_file()]
    assert f"kept as {aside}" in done.stdout
    assert backup("restore", str(aside)).returncode == 0
    assert _names(database) == ["since"], "what was in its log only is there, too"


def test_a_database_in_use_is_left_alone_and_it_is_said_by_whom(
    backup: Backup, database: Path, folder: Path, tmp_path: Path
) -> None:
    made = _with_a_backup_and_a_log(backup, database, folder)
    with closing(sqlite3.connect(database)) as user:
        user.execute("SELECT name FROM files").fetchall()
        done = backup("restore", str(made))
    assert done.returncode == 1
    assert f"({os.getpid()})" in done.stderr
    assert "in use by" in done.stderr
    assert _names(database) == ["since"]
    assert (tmp_path / "calls").read_text().splitlines()[-1].startswith("systemctl start")


@pytest.mark.parametrize(("fails", "last"), [("examine", "examine"), ("migrate", "start")])
def test_a_backup_that_does_not_fit_leaves_what_is_there(
    backup: Backup, database: Path, folder: Path, tmp_path: Path, fails: str, last: str
) -> None:
    made = _with_a_backup_and_a_log(backup, database, folder)
    (tmp_path / "calls.fails").write_text(f"{fails}\n")
    assert backup("restore", str(made)).returncode == 1
    assert _names(database) == ["since"]
    assert last in (tmp_path / "calls").read_text().splitlines()[-1]
    assert [path.name for path in database.parent.iterdir()] == [database.name]


def test_a_disk_that_was_lost_has_nothing_to_set_aside(
    backup: Backup, database: Path, folder: Path
) -> None:
    made = _with_a_backup_and_a_log(backup, database, folder)
    for path in database.parent.iterdir():
        path.unlink()
    done = backup("restore", str(made))
    assert done.returncode == 0, done.stderr
    assert "is nothing" in done.stdout
    assert _names(database) == ["then"]


def _with_a_backup_and_a_log(backup: Backup, database: Path, folder: Path) -> Path:
    """A backup of `then`; the database has `since`, in its log alone, as after a crash."""
    with closing(sqlite3.connect(database)) as writer:
        writer.execute("INSERT INTO files VALUES ('then')")
        writer.commit()
        assert backup().returncode == 0
    end = "import os; os.kill(os.getpid(), 9)"
    wrote = "; ".join(
        [
            "import sqlite3, sys; writer = sqlite3.connect(sys.argv[1])",
            "writer.execute('DELETE FROM files')",
            "writer.execute('INSERT INTO files VALUES (?)', ('since',))",
            f"writer.commit(); {end}",
        ]
    )
    subprocess.run([sys.executable, "-c", wrote, str(database)], check=False)
    assert database.with_name(f"{database.name}-wal").stat().st_size > 0
    [made] = folder.iterdir()
    return made


def test_a_drill_examines_a_backup_beside_the_database_and_removes_it(
    backup: Backup, database: Path, folder: Path, tmp_path: Path
) -> None:
    made = _with_a_backup_and_a_log(backup, database, folder)
    done = backup("drill", str(made))
    assert done.returncode == 0, done.stderr
    assert "could be restored" in done.stdout
    assert _names(database) == ["since"]
    [call] = (tmp_path / "calls").read_text().splitlines()
    assert "portside-control examine sqlite:////" in call, "nothing was stopped or migrated"
    assert not list(database.parent.glob("*.candidate*"))
    (tmp_path / "calls.fails").write_text("examine\n")
    assert backup("drill", str(made)).returncode == 1
    assert not list(database.parent.glob("*.candidate*"))


def test_an_empty_database_is_begun_and_the_one_before_set_aside(
    backup: Backup, database: Path, folder: Path, tmp_path: Path
) -> None:
    _with_a_backup_and_a_log(backup, database, folder)
    done = backup("restore", "empty")
    assert done.returncode == 0, done.stderr
    assert "app create" in done.stdout
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    [aside] = [path for path in database.parent.glob("*.before-*Z") if path.is_file()]
    assert _names(aside) == ["since"]


def test_of_two_runs_at_once_one_waits_for_the_other(backup: Backup, folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as threads:
        second = threads.submit(backup)
        with pytest.raises(TimeoutError):
            second.result(timeout=2)
        assert list(folder.iterdir()) == []
        os.close(descriptor)
        assert second.result().returncode == 0
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_what_is_no_backup_stops_nothing(
    backup: Backup, database: Path, tmp_path: Path, content: bytes
) -> None:
    wrong = tmp_path / "wrong.sqlite"
    wrong.write_bytes(content)
    done = backup("restore", str(wrong))
    assert done.returncode == 1
    assert "no backup that can be used" in done.stderr
    assert not (tmp_path / "calls").exists(), "nothing was stopped"
    assert _names(database) == []


@pytest.mark.parametrize("before", ["        verify(CANDIDATE)\n", "        shutil.copyfileobj"])
def test_what_the_services_user_puts_in_place_meanwhile_is_nothing_to_root(before: str) -> None:
    """It owns the folder: a link of its own would give it whatever file it leads to."""
    with tempfile.TemporaryDirectory() as name:
        state, roots = Path(name) / "control.sqlite", Path(name, "for root alone")
        shutil.chown(name, "nobody", "nogroup")
        roots.mkdir(0o700)
        source, valuable = roots / "backup", roots / "valuable"
        with closing(sqlite3.connect(source)) as connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.commit()
        shutil.copy(source, valuable)
        text = backup_command(parse(CLUSTER + f"control: {{backups: {KEPT}}}\n"))
        text = text.replace(layout.CONTROL_DATABASE, str(state))
        text = text.replace(f'USER = "{layout.CONTROL_USER}"', 'USER = "nobody"')
        link = f"CANDIDATE.unlink(); CANDIDATE.symlink_to({str(valuable)!r})"
        assert before in text
        indent = before[: len(before) - len(before.lstrip())]
        text = text.replace(before, f"{indent}{link}\n{before}", 1)
        done = subprocess.run(
            ["/usr/bin/python3", "-I", "-", "restore", str(source)],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "portside-control-backup: " in done.stderr or "no backup" in done.stderr
        assert (valuable.stat().st_uid, valuable.read_bytes()) == (0, source.read_bytes())
