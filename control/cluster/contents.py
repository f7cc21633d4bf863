"""What the database has in it, in figures: for whoever backs it up, restores it or waits for it."""

from __future__ import annotations

import sqlite3

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from control.db import migrations
from control.db.database import Database
from control.db.models import File, Node
from portside.backup.contents import DatabaseContents

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_DAMAGED_STATES = ("XX001", "XX002")
"""PostgreSQL's data_corrupted and index_corrupted (its manual, appendix A)."""


class NoDatabase(Exception):
    """There is no database that anything could be read from; the message says why."""


def read(database: Database) -> DatabaseContents:
    """What is in the database that is used.

    Raises NoDatabase for one that is damaged or has no schema at all, SchemaOutdated for another
    release's, DatabaseUnavailable for one that can't be asked now: it may be in order.
    """
    try:
        if database.read(lambda session: migrations.revision(session.connection())) is None:
            raise NoDatabase("the database has no schema: it is empty, or no control plane's")
        migrations.check(database)
        return database.read(of)
    except DBAPIError as error:
        if not _is_damage(error.orig):
            raise
        raise NoDatabase(f"the database is damaged: {error.orig}") from error


def _is_damage(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        # Extended codes have the kind in their lowest byte (sqlite.org/rescode.html).
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED
    return getattr(error, "sqlstate", None) in _DAMAGED_STATES


def of(session: Session) -> DatabaseContents:
    """Figures of a database with this release's schema."""
    files, newest = session.execute(
        select(func.count(File.file_id), func.max(File.committed_at)).where(
            File.state == "committed"
        )
    ).one()
    nodes = session.execute(
        select(Node.node_id, Node.heartbeat.is_not(None)).where(
            Node.in_roster, Node.wanted != "retired"
        )
    ).all()
    return DatabaseContents(
        revision=migrations.revision(session.connection()) or "",
        nodes=len(nodes),
        silent=tuple(sorted(node_id for node_id, heard in nodes if not heard)),
        files=files,
        newest=newest,
    )
