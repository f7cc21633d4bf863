"""Databases for the control plane's tests: every test that takes one runs on both kinds."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from control.db.database import Database
from control.db.migrations import migrate
from control.db.models import Base
from tests.support.control.core import Core
from tests.support.control.postgresql import PostgresqlServer
from tests.support.control.small_cluster import SmallCluster

KINDS = ("sqlite", "postgresql")

_NAME = "portside"
"""Of the one database on the tests' own server."""


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A server for the whole run, with the schema. Whoever stops it starts it again."""
    server = PostgresqlServer()
    try:
        server.start()
        server.execute(f"CREATE DATABASE {_NAME}")
        database = Database(server.dsn(_NAME))
        migrate(database)
        database.close()
        yield server
    finally:
        server.remove()


def _emptied(server: PostgresqlServer) -> str:
    """The URL of its database once nothing is in it, and nobody of an earlier test."""
    # Rows are few: to delete them costs a tenth of TRUNCATE, which makes every file anew.
    statements = [
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        *(str(table.delete()) for table in reversed(Base.metadata.sorted_tables)),
    ]
    server.execute("; ".join(statements), _NAME)
    return server.dsn(_NAME)


class _Opened:
    """A database of each kind: statements are compiled once for an engine, and dear."""

    def __init__(self) -> None:
        self._databases: dict[str, Database] = {}

    def of(self, url: str) -> Database:
        """The one at this URL."""
        if url not in self._databases:
            self._databases[url] = Database(url)
        return self._databases[url]

    def leave(self, url: str) -> None:
        """A test has ended: what it had done behind is done, its connections are closed."""
        idle = threading.Event()
        self._databases[url].behind(idle.set)
        assert idle.wait(60)
        self._databases[url].engine.dispose()

    def close(self) -> None:
        for database in self._databases.values():
            database.close()


@pytest.fixture(scope="session")
def opened() -> Iterator[_Opened]:
    opened = _Opened()
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def sqlite_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' SQLite database is, one test's after the other."""
    return tmp_path_factory.mktemp("database")


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with the schema and nothing else: SQLite once, PostgreSQL once."""
    if request.param == "sqlite":
        path: Path = request.getfixturevalue("sqlite_home") / "control.sqlite"
        for left in path.parent.iterdir():
            left.unlink()
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    return _emptied(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(database_url: str, opened: _Opened) -> Iterator[Database]:
    """The same, opened."""
    yield opened.of(database_url)
    opened.leave(database_url)


@pytest.fixture
def postgresql_database(postgresql: PostgresqlServer, opened: _Opened) -> Iterator[Database]:
    """An empty PostgreSQL database, for what SQLite doesn't have: connections and deadlocks."""
    url = _emptied(postgresql)
    yield opened.of(url)
    opened.leave(url)


@pytest.fixture
def core(tmp_path: Path, database: Database, database_url: str) -> Core:
    """The core with three nodes that have just reported; two copies are wanted."""
    core = Core(tmp_path, database, database_url)
    core.all_report()
    return core


@pytest.fixture
def cluster(
    tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path
) -> Iterator[SmallCluster]:
    """Two nodes and their control plane, every process as it runs."""
    # A short path: those of sockets are limited (unix(7)).
    home = tmp_path_factory.mktemp("cluster")
    shutil.copyfile(migrated_sqlite, home / "control.sqlite")
    cluster = SmallCluster(home, f"sqlite:///{home / 'control.sqlite'}")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
