"""Deletions that the control plane has forgotten are told again.

A control plane whose database is older than a deletion learns from one node of a file that another
has deleted for good already. So whenever it has learned of files it says when, and each node has it
look through the ids of its tombstones (`portside.wire.inventory`).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from datetime import datetime

import structlog

from agent.heartbeat.client import ControlAway, ControlClient
from agent.heartbeat.held_files import described, in_bounds
from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.settings import Settings
from agent.storage import tombstones
from portside.inventory import EMPTY, toggled
from portside.wire.inventory import MOST_HELD, MOST_IDS, HeldFile, HeldFiles, InventoryPage

_log = structlog.get_logger()

SETTLED = 5.0
"""Seconds after which all that was learned in one go is known to be alive, or not to be."""

_LOOK_EVERY = 1.0


class TombstoneComparison:
    """Tells one node's deletions again. `run` is one thread's work."""

    def __init__(self, settings: Settings, database: Database, control: ControlClient) -> None:
        self._settings = settings
        self._node_id = settings.node_id
        self._database = database
        self._control = control
        self._lock = threading.Lock()
        self._wanted: tuple[str, datetime] | None = None
        self._done_for: datetime | None = None

    def heard(self, url: str, learned_at: datetime | None, now: datetime) -> None:
        """A heartbeat was answered at `now`, by the control plane's clock as `learned_at`."""
        with self._lock:
            self._wanted = None
            if learned_at is not None and (now - learned_at).total_seconds() >= SETTLED:
                self._wanted = url, learned_at

    def run(self, pulse: Pulse) -> None:
        """Compare whenever it is asked for, until the worker is to stop."""
        while not pulse.stopped:
            with self._lock:
                wanted, self._wanted = self._wanted, None
            if wanted is None or wanted[1] == self._done_for:
                pulse.wait(_LOOK_EVERY)
                continue
            url, learned_at = wanted
            try:
                if self._compare(url, pulse):
                    self._done_for = learned_at
            except ControlAway as away:
                if not pulse.stopped:
                    # The next heartbeat shows whether it is back.
                    _log.warning("deletions not compared", kind=away.kind, error=str(away))
            except sqlite3.OperationalError as error:
                _log.error("deletions not compared", error=str(error))

    def _compare(self, url: str, pulse: Pulse) -> bool:
        """Whether every deletion was heard. Raises ControlAway and sqlite3.OperationalError."""
        for page in self._pages():
            if pulse.stopped:
                return False
            pulse.beat()
            answer = self._control.compare(url, page, lambda: pulse.stopped)
            for start in range(0, len(answer.wanted), MOST_HELD):
                if not self._tell(url, answer.wanted[start : start + MOST_HELD], pulse):
                    return False
        return True

    def _tell(self, url: str, file_ids: tuple[str, ...], pulse: Pulse) -> bool:
        """Whether it was heard: False when a heartbeat came in between."""
        ticket = self._control.ticket
        rows = self._database.rows(
            "SELECT file_id, jti, stored FROM files WHERE state = 'DELETED' "
            "AND file_id IN (SELECT value FROM json_each(?))",
            (json.dumps(file_ids),),
        )
        for files in in_bounds(map(self._with_order, described(rows))):
            pulse.beat()
            held = HeldFiles(node_id=self._node_id, ticket=ticket, files=files, deleted=True)
            answer = self._control.tell_held(url, held, lambda: pulse.stopped)
            if answer.outdated:
                return False
            _log.warning("files were deleted, and believed to live", files=answer.taken)
            for each in answer.not_taken:
                _log.error("deletion not believed", file_id=each.file_id, why=each.why)
        return True

    def _with_order(self, file: HeldFile) -> HeldFile:
        """With what proves that it was to go: without, the control plane takes no one's word."""
        order = tombstones.order_of(self._settings, self._database, file.file_id)
        if order is None:
            return file
        return file.model_copy(update={"order": order.token, "deleted_at": order.deleted_at})

    def _pages(self) -> Iterator[InventoryPage]:
        after: str | None = None
        while True:
            rows = self._database.rows(
                "SELECT file_id FROM files WHERE state = 'DELETED' AND file_id > ? "
                "ORDER BY file_id LIMIT ?",
                (after or "", MOST_IDS),
            )
            ids = tuple(file_id for (file_id,) in rows)
            if ids:
                yield InventoryPage(
                    node_id=self._node_id,
                    after=after,
                    last=ids[-1],
                    digest=toggled(EMPTY, ids),
                    file_ids=ids,
                    deleted=True,
                )
            if len(ids) < MOST_IDS:
                return
            after = ids[-1]
