"""A database that was kept: whether it may become this control plane's, and what of it counts then.

What a restore could do wrong can't be undone by nodes telling what they have: with the nodes of
another cluster none here would be believed, and what a newer release wrote this one would misread.
"""

from __future__ import annotations

from sqlalchemy import func, inspect, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session

from control.cluster import rosters
from control.cluster.rosters import RosterUnusable
from control.db import migrations
from control.db.database import Database
from control.db.models import File, Node
from control.settings import Settings
from portside.wire.keys import PublicKey


class BackupRefused(Exception):
    """A database that can't be restored here; the message says why."""


def examine(database: Database, settings: Settings) -> str:
    """What is in a database that may be restored, for people.

    Raises BackupRefused for one that is damaged, of a newer release or of another cluster,
    RosterUnusable without a roster to compare with, DatabaseUnavailable.
    """
    if database.is_sqlite:
        try:
            said = database.read(
                lambda session: (
                    session.connection().exec_driver_sql("PRAGMA integrity_check").scalar()
                )
            )
        except DatabaseError as error:
            said = str(error.orig)
        if said != "ok":
            raise BackupRefused(f"it is damaged: {said}")
    revision = database.read(lambda session: migrations.revision(session.connection()))
    if revision is None:
        raise BackupRefused("it is no database of a control plane: it has no schema of one")
    if revision not in (known := migrations.known()):
        raise BackupRefused(
            f"its schema {revision} is newer than this release, which knows up to {known[0]}: "
            "deploy the release that wrote it, then restore"
        )
    return database.read(lambda session: _of_this_cluster(session, settings, revision))


def forget_heartbeats(session: Session) -> None:
    """Each node is to speak for itself again, once a database was restored.

    A node that had nothing when the backup was made may have files now: by what it said then it
    could be retired with them, until its next heartbeat.
    """
    session.execute(update(Node).values(heartbeat=None))


def _of_this_cluster(session: Session, settings: Settings, revision: str) -> str:
    if not inspect(session.connection()).has_table(Node.__tablename__):
        raise BackupRefused("it is no database of a control plane: it has no table of nodes")
    rows = session.execute(select(Node.node_id, Node.key)).all()
    keys = {PublicKey.model_validate(key).x: node_id for node_id, key in rows}
    try:
        roster = rosters.read(settings.roster)
    except RosterUnusable as unusable:
        raise BackupRefused(
            f"nobody can say whether it is of this cluster: {unusable}: deploy the roster first"
        ) from None
    # Keys are made by the nodes themselves and never travel: who has one of them is of the cluster.
    # A node that was made anew has another, all of them have not; the roster has former ones too.
    told = {key.x for node in roster.nodes for key in node.keyset.keys}
    if keys and told and not told & keys.keys():
        raise BackupRefused(
            f"it is of another cluster: none of its nodes ({', '.join(sorted(keys.values()))}) has "
            f"the key of one of cluster {settings.cluster!r}"
        )
    files, newest = session.execute(
        select(func.count(File.file_id), func.max(File.committed_at))
    ).one()
    latest = f", the newest of {newest:%Y-%m-%dT%H:%M:%SZ}" if newest else ""
    return f"schema {revision}, {len(rows)} nodes, {files} files{latest}"
