"""Nodes' inventories: compared with the catalogue page by page, and what it lacks taken over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.db.models import Node
from control.files import takeover
from control.files.receipts import is_below_a_namespace
from control.nodes import authentication
from control.problems import ProblemError
from control.replication import inventory
from control.settings import Settings
from portside.wire.inventory import (
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)


class Inventories:
    """Answers nodes that found their inventory to differ from ours. Thread-safe."""

    def __init__(self, settings: Settings, database: Database, snapshots: Snapshots) -> None:
        self._settings = settings
        self._database = database
        self._snapshots = snapshots

    def compare(self, node_id: str, token: str, body: bytes, now: datetime) -> InventoryAnswer:
        """Where a page of a node's files differs. Raises ProblemError and DatabaseUnavailable."""
        node = authentication.sender(self._snapshots.current(), node_id)
        page = authentication.proven(node, token, body, InventoryPage, now)
        return self._database.read(lambda session: inventory.compare(session, page))

    def take_over(self, node_id: str, token: str, body: bytes, now: datetime) -> HeldFilesAnswer:
        """Take in files that a node has and we don't know of, as its signed word.

        Raises ProblemError, with nothing changed, and DatabaseUnavailable.
        """
        node = authentication.sender(self._snapshots.current(), node_id)
        held = authentication.proven(node, token, body, HeldFiles, now)
        for each in held.files:
            if not _fits(each):
                raise ProblemError(
                    "malformed-request", f"{each.file_id}: its path is none of its namespace"
                )

        def work(session: Session) -> HeldFilesAnswer:
            # The node's row is locked: no heartbeat comes in between.
            known = session.get_one(Node, node_id, with_for_update=True, populate_existing=True)
            if not held.ticket or held.ticket != known.ticket:
                return HeldFilesAnswer(taken=0, outdated=True)
            return takeover.take_over(session, self._settings, held, now)

        return self._database.write(work)


def _fits(file: HeldFile) -> bool:
    return is_below_a_namespace(file.path) and file.path.parts[0] == file.namespace
