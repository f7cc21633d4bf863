"""Databases for the control plane's tests: every test that takes one runs on both kinds."""

from __future__ import annotations

import shutil
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
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        _NAME,
    )
    server.execute(f"TRUNCATE {tables}", _NAME)
    return server.dsn(_NAME)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with the schema and nothing else: SQLite once, PostgreSQL once."""
    if request.param == "sqlite":
        path = tmp_path / "control.sqlite"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"
    return _emptied(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, opened."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def postgresql_database(postgresql: PostgresqlServer) -> Iterator[Database]:
    """An empty PostgreSQL database, for what SQLite doesn't have: connections and deadlocks."""
    opened = Database(_emptied(postgresql))
    yield opened
    opened.close()


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
