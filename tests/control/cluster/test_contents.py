"""Whether a database is in order is said apart from whether it can be asked now."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from control import cli, settings
from control.cluster import contents
from control.cluster.contents import NoDatabase
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated, migrate
from control.settings import Settings
from portside.backup.contents import NO_DATABASE
from tests.support.control.core import Core


def _made(path: Path) -> Path:
    database = Database(f"sqlite:///{path}", connections=2)
    migrate(database)
    database.checkpoint()
    database.close()
    return path


def _read(path: Path) -> object:
    database = Database(f"sqlite:///{path}", connections=2)
    try:
        return contents.read(database)
    finally:
        database.close()


def test_what_is_in_order_is_counted(core: Core) -> None:
    core.stores("s01", "s02")
    assert contents.read(core.database).files == 1


def test_a_damaged_database_and_one_that_was_never_made_are_none(tmp_path: Path) -> None:
    half = _made(tmp_path / "half")
    content = half.read_bytes()
    half.write_bytes(content[:8192] + b"\xee" * (len(content) - 8192))
    (tmp_path / "cut").write_bytes(content[:5000])
    (tmp_path / "junk").write_bytes(b"no database" * 1000)
    for name in ("half", "cut", "junk"):
        with pytest.raises(NoDatabase, match="is damaged"):
            _read(tmp_path / name)
    with pytest.raises(NoDatabase, match="no schema"):
        _read(tmp_path / "absent")


def test_another_releases_database_and_one_that_cannot_be_opened_may_be_in_order(
    tmp_path: Path,
) -> None:
    path = _made(tmp_path / "older")
    database = Database(f"sqlite:///{path}", connections=2)
    database.write(
        lambda session: session.execute(text("UPDATE alembic_version SET version_num=1"))
    )
    database.close()
    with pytest.raises(SchemaOutdated):
        _read(path)
    with pytest.raises(DatabaseUnavailable):
        _read(tmp_path / "not-mounted" / "control.sqlite")


@pytest.mark.parametrize(
    ("raised", "code"), [(NoDatabase("it is none"), NO_DATABASE), (SchemaOutdated("older"), 1)]
)
def test_the_exit_code_tells_them_apart(
    monkeypatch: pytest.MonkeyPatch,
    core: Core,
    capsys: pytest.CaptureFixture[str],
    raised: Exception,
    code: int,
) -> None:
    def fail(database: Database) -> None:
        raise raised

    def load(path: Path | None) -> Settings:
        return core.settings

    monkeypatch.setattr(settings, "load", load)
    monkeypatch.setattr(contents, "read", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main(["contents"])
    assert ended.value.code == code
    assert capsys.readouterr().err == f"portside-control: {raised}\n"
