"""Copies of this node's files on other nodes: what their receipts attest to."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.index.database import Database
from portside.wire.claims import Copy, FileWithCopies, StoredFile


def copies_of(database: Database, file_id: str) -> tuple[Copy, ...]:
    """The copies that this node has made of a file, the oldest first."""
    rows = database.rows(
        "SELECT node_id, receipt, confirmed_at FROM copies WHERE file_id = ? "
        "ORDER BY confirmed_at, node_id",
        (file_id,),
    )
    return tuple(
        Copy(node_id=node_id, receipt=receipt, confirmed_at=datetime.fromtimestamp(at, UTC))
        for node_id, receipt, at in rows
    )


def with_copies(database: Database, stored: StoredFile) -> FileWithCopies:
    """The file and where else it is."""
    return FileWithCopies(**dict(stored), copies=copies_of(database, stored.file_id))
