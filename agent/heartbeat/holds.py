"""Files that the control plane has held or released: carried out at once, told until heard.

An order comes again until it is confirmed, so nothing of it is kept here: one that fails, or that
a crash cuts off, is carried out when it comes again. A file that isn't here is confirmed as well;
should it come later, its receipt has the control plane order anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import structlog

from agent.index.database import Database
from agent.settings import Settings
from agent.storage.holds import set_held
from agent.storage.staging import DiskFailed, DiskFull
from portside.wire.heartbeat import MOST_HOLDS, HoldDone, NodeHold

_log = structlog.get_logger()


class HoldOrders:
    """Those of one node, for one thread."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._done: dict[str, int] = {}

    def take(self, orders: Sequence[NodeHold]) -> None:
        """Carry out what came with a heartbeat's answer."""
        for each in orders:
            try:
                set_held(
                    self._settings, self._database, each.file_id, held=each.held, note=each.note
                )
            except (DiskFull, DiskFailed, sqlite3.Error) as error:
                # The row may say so already, then the agent goes by it. The order comes again.
                _log.error(
                    "not held or released as ordered", file_id=each.file_id, error=str(error)
                )
                continue
            self._done[each.file_id] = each.version

    def to_tell(self) -> tuple[HoldDone, ...]:
        """What is done and wasn't told yet."""
        done = list(self._done.items())[:MOST_HOLDS]
        return tuple(HoldDone(file_id=file_id, version=version) for file_id, version in done)

    def told(self, done: Sequence[HoldDone]) -> None:
        """These were heard."""
        for each in done:
            if self._done.get(each.file_id) == each.version:
                del self._done[each.file_id]
