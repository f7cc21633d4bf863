"""The schema's history, carried out by `portside-control migrate` (alembic)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from control.db.database import Database

_LOCK = 0x706F7274
"""PostgreSQL's advisory lock: of several processes that migrate at once, one does."""


class SchemaOutdated(Exception):
    """The database's schema isn't this release's; the message says what to do."""


def migrate(database: Database) -> str:
    """Bring the schema to this release's state; returns its revision. Nothing happens twice.

    Raises DatabaseUnavailable.
    """

    def work(session: Session) -> str:
        connection = session.connection()
        if not database.is_sqlite:
            # Rewriting a big table takes its time, and so may whoever comes first.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        command.upgrade(_config(connection), "head")
        return _revision(connection) or ""

    return database.write(work)


def check(database: Database) -> None:
    """Raise SchemaOutdated unless the schema is this release's, DatabaseUnavailable without one."""
    found = database.read(lambda session: _revision(session.connection()))
    wanted = ScriptDirectory.from_config(_config(None)).get_current_head()
    if found != wanted:
        raise SchemaOutdated(
            f"the database's schema is {found or 'empty'}, this release needs {wanted}: "
            "run `portside-control migrate`"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
