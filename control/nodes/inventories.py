"""Nodes' inventories: compared with the catalogue page by page, and what it lacks taken over.

So are their tombstones, once files were taken over that may have been deleted."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.db.models import File, Node
from control.files import takeover
from control.files.receipts import is_below_a_namespace
from control.nodes import authentication, file_proofs
from control.nodes.deletion_orders import DeletionOrders
from control.nodes.runs import Runs
from control.problems import ProblemError
from control.replication import inventory
from control.settings import Settings
from portside.wire.inventory import (
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
    NotTaken,
)

AT_ONCE = 200
"""Files of one transaction: some hundredths of a second, in which SQLite's other writers wait.
After a restore there is one after the other, and sessions are to be opened in between."""

REST = 0.5
"""Times as long as it took is the pause behind each: a third of the time is the others' alone, and
sessions come in between anyway (`bench.rebuild` has their seconds)."""

LONGEST_REST = 0.2
"""Seconds."""

MOST_TELLING = 3
"""Nodes that are listened to at a time, one of them being taken over from: each has a thread of
gunicorn's, and the others come again with their next heartbeat."""


class Inventories:
    """Answers nodes that found their inventory to differ from ours. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        snapshots: Snapshots,
        runs: Runs,
        orders: DeletionOrders,
    ) -> None:
        self._orders = orders
        self._runs = runs
        self._turn = threading.Lock()
        self._telling = threading.BoundedSemaphore(MOST_TELLING)
        self._settings = settings
        self._database = database
        self._snapshots = snapshots

    def compare(self, node_id: str, token: str, body: bytes, now: datetime) -> InventoryAnswer:
        """Where a page of a node's files differs. Raises ProblemError and DatabaseUnavailable."""
        node = authentication.sender(self._snapshots.current(), node_id)
        page = authentication.proven(node, token, body, InventoryPage, now)
        authentication.refuse_twins(self._runs, node_id, now)
        return self._database.read(lambda session: inventory.compare(session, page))

    def take_over(self, node_id: str, token: str, body: bytes, now: datetime) -> HeldFilesAnswer:
        """Take in files that a node has and we don't know of, as its signed word.

        Raises ProblemError, with nothing changed, and DatabaseUnavailable.
        """
        node = authentication.sender(self._snapshots.current(), node_id)
        held = authentication.proven(node, token, body, HeldFiles, now)
        authentication.refuse_twins(self._runs, node_id, now)
        # One that can't be right is no reason to forget the others.
        wrong = tuple(
            NotTaken(file_id=each.file_id, why="its path is none of its namespace")
            for each in held.files
            if not _fits(each)
        )
        right = tuple(filter(_fits, held.files))
        if not self._telling.acquire(blocking=False):
            raise ProblemError("rate-limited", "other nodes tell of their files just now")
        try:
            return self._piece_by_piece(held, right, wrong, now)
        finally:
            self._telling.release()

    def _piece_by_piece(
        self,
        held: HeldFiles,
        right: Sequence[HeldFile],
        wrong: Sequence[NotTaken],
        now: datetime,
    ) -> HeldFilesAnswer:
        taken, not_taken = 0, list(wrong)
        for start in range(0, max(len(right), 1), AT_ONCE):
            some = held.model_copy(update={"files": right[start : start + AT_ONCE]})
            is_last = start + AT_ONCE >= len(right)
            answer = self._in_turn(some, now, is_last=is_last)
            if answer.outdated:
                return answer
            taken += answer.taken
            not_taken += answer.not_taken
        return HeldFilesAnswer(taken=taken, not_taken=tuple(not_taken))

    def _in_turn(self, held: HeldFiles, now: datetime, *, is_last: bool) -> HeldFilesAnswer:
        """Take over so few that who asks for a session hardly notices: one node at a time."""

        nodes = self._snapshots.current().nodes
        # Before anybody waits for the database.
        issuers = self._orders.issuers(nodes)
        proved = file_proofs.proved(() if held.deleted else held.files, held.node_id, issuers)

        def is_proved(told: HeldFile, file: File) -> bool:
            return self._orders.prove(held.node_id, told, file, nodes)

        def work(session: Session) -> HeldFilesAnswer:
            # The node's row is locked: no heartbeat comes in between.
            known = session.get_one(
                Node, held.node_id, with_for_update=True, populate_existing=True
            )
            if not held.ticket or held.ticket != known.ticket:
                return HeldFilesAnswer(taken=0, outdated=True)
            if held.deleted:
                return takeover.bury(session, held, now, is_proved)
            return takeover.take_over(session, self._settings, held, now, proved)

        with self._turn:
            # What is durable when the last returns is all that was committed before it.
            began = time.monotonic()
            answer = self._database.write(work, durable=is_last)
            time.sleep(min(REST * (time.monotonic() - began), LONGEST_REST))
            return answer


def _fits(file: HeldFile) -> bool:
    return is_below_a_namespace(file.path) and file.path.parts[0] == file.namespace
