"""SQLite commits made durable together: one fsync for all that committed while the last one ran.

With synchronous=FULL each commit syncs the write-ahead log by itself, and holds the only writer's
place meanwhile. Here commits go to the log unsynced (NORMAL), and whoever needs to be sure waits
behind the writer's place for an fsync that began after its commit. One thread syncs, those that
came meanwhile wait for the next one together.

That is as safe as FULL: with NORMAL, SQLite syncs the log before a checkpoint and the database
behind it (sqlite.org/pragma.html, synchronous), so what a checkpoint has moved out of the log
before our fsync is durable in the database already.

A failed fsync is final: the kernel has dropped pages of the log, whatever is appended behind them
would be lost with them, and a second fsync would succeed and lie. From then on every wait fails,
until somebody has looked at the disk and restarted the process.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

from portside.durable_file import sync_directory


class GroupCommit:
    """Syncs one database's write-ahead log. Thread-safe; for one process."""

    def __init__(self, database: Path) -> None:
        self._log = database.with_name(database.name + "-wal")
        self._changed = threading.Condition()
        self._asked = 0
        self._synced = 0
        self._syncing = False
        self._failed: OSError | None = None
        self._known: tuple[int, int] | None = None

    def wait(self) -> None:
        """Return once everything that this thread has committed is on disk.

        Raises OSError when that can't be said any more, now and at each later call.
        """
        with self._changed:
            self._asked += 1
            mine = self._asked
        while (upto := self._my_turn(mine)) is not None:
            self._sync_upto(upto)

    def _my_turn(self, mine: int) -> int | None:
        """Wait until commit `mine` is synced, or this thread has to sync, up to a number told.

        None when it is synced. Raises OSError after a sync that failed.
        """
        with self._changed:
            while self._synced < mine:
                if self._failed is not None:
                    raise OSError(
                        self._failed.errno, f"the log could not be synced: {self._failed.strerror}"
                    )
                if not self._syncing:
                    self._syncing = True
                    return self._asked
                self._changed.wait()
            return None

    def _sync_upto(self, upto: int) -> None:
        """Sync what was committed until now, while others may commit, and tell those who wait."""
        synced, failed = 0, None
        try:
            self._sync()
            synced = upto
        except OSError as error:
            failed = error
        finally:
            with self._changed:
                self._syncing = False
                self._failed = failed
                self._synced = max(self._synced, synced)
                # Whoever came meanwhile syncs now; after a failure each finds out.
                self._changed.notify_all()

    def _sync(self) -> None:
        try:
            descriptor = os.open(self._log, os.O_RDWR)
        except FileNotFoundError:
            # The last connection was closed: it moved everything into the database and synced it.
            return
        try:
            os.fdatasync(descriptor)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if (status.st_dev, status.st_ino) != self._known:
            # A new file: its name has to last, too.
            sync_directory(self._log.parent)
            self._known = status.st_dev, status.st_ino
