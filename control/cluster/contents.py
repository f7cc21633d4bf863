"""What the database has in it, in figures: for whoever backs it up, restores it or waits for it."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from control.db import migrations
from control.db.models import File, Node
from portside.backup.contents import DatabaseContents


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
