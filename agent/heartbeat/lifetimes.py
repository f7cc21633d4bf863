"""Changed lifetimes that the control plane orders: carried out, then told until that is heard.

An order comes with each answer until the node has said that it is kept, so nothing of it needs to
be remembered across a restart; carried out twice it changes nothing the second time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import structlog

from agent.storage.staging import DiskFailed, DiskFull
from portside.wire.files import StoredFile
from portside.wire.heartbeat import LifetimeKept, LifetimeOrder

_log = structlog.get_logger()


class LifetimeOrders:
    """One node's. One thread asks and tells.

    `change` has a file end at another moment, as `agent.storage.ending.change` does.
    """

    def __init__(self, change: Callable[[str, int | None], StoredFile | None]) -> None:
        self._change = change
        self._kept: dict[str, int] = {}

    def to_tell(self) -> tuple[LifetimeKept, ...]:
        """What is carried out and wasn't heard yet."""
        return tuple(
            LifetimeKept(file_id=file_id, version=version)
            for file_id, version in self._kept.items()
        )

    def take(self, told: Sequence[LifetimeKept], orders: Sequence[LifetimeOrder]) -> None:
        """A heartbeat that told these was answered with more. What a disk doesn't take now comes
        again with the next answer. Raises sqlite3.Error.
        """
        for each in told:
            if self._kept.get(each.file_id) == each.version:
                del self._kept[each.file_id]
        for order in orders:
            try:
                self._change(order.file_id, order.expires_at)
            except FileExistsError as taken:
                # It would be ordered for ever: the file's name is another's by now.
                _log.error("file can't come back", file_id=order.file_id, why=str(taken))
            except (DiskFull, DiskFailed, sqlite3.OperationalError) as error:
                _log.error("lifetime not changed", file_id=order.file_id, error=str(error))
                return
            self._kept[order.file_id] = order.version
