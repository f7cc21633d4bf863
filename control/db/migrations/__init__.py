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
        return revision(connection) or ""

    return database.write(work)


def check(database: Database) -> None:
    """Raise SchemaOutdated unless the schema is this release's, DatabaseUnavailable without one."""
    found = database.read(lambda session: revision(session.connection()))
    wanted = known()[0]
    if found != wanted:
        raise SchemaOutdated(
            f"the database's schema is {found or 'empty'}, this release needs {wanted}: "
            "run `portside-control migrate`"
        )


def known() -> list[str]:
    """Every revision that this release knows, the newest first."""
    return [each.revision for each in ScriptDirectory.from_config(_config(None)).walk_revisions()]


def revision(connection: Connection) -> str | None:
    """The revision of a database's schema; None: it has none of ours."""
    return MigrationContext.configure(connection).get_current_revision()


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
