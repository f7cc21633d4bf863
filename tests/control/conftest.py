"""Databases for the control plane's tests: every test that takes one runs on both kinds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from control.database import Database
from control.migrations import migrate
from tests.control.postgresql import PostgresqlServer

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A server for the whole run. Whoever stops it starts it again."""
    server = PostgresqlServer()
    try:
        server.start()
        server.execute("CREATE DATABASE migrated")
        database = Database(server.dsn("migrated"))
        migrate(database)
        database.close()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema and nothing in it."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return count(1)


@pytest.fixture(params=KINDS)
def database_url(
    request: pytest.FixtureRequest, tmp_path: Path, _numbers: Iterator[int]
) -> Iterator[str]:
    """A fresh database with the schema: SQLite once, PostgreSQL once."""
    if request.param == "sqlite":
        path = tmp_path / "control.sqlite"
        shutil.copyfile(request.getfixturevalue("migrated_sqlite"), path)
        yield f"sqlite:///{path}"
    else:
        server: PostgresqlServer = request.getfixturevalue("postgresql")
        name = f"test_{next(_numbers)}"
        server.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
        yield server.dsn(name)
        server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """The same, opened."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def postgresql_database(
    postgresql: PostgresqlServer, _numbers: Iterator[int]
) -> Iterator[Database]:
    """A fresh PostgreSQL database, for what SQLite doesn't have: connections and deadlocks."""
    name = f"test_{next(_numbers)}"
    postgresql.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    opened = Database(postgresql.dsn(name))
    yield opened
    opened.close()
    postgresql.execute(f"DROP DATABASE {name} WITH (FORCE)")
