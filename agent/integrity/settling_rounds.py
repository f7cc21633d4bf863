"""The worker's part in settling: other nodes are asked for good copies, ordered ones are fetched.

Only the worker reaches the network. What an operator orders at the API is a note until it is
carried out, and one that says why it failed after that. What other nodes say of quarantined files
is kept as their receipts (the table `copies`), so that a listing knows where good copies are.
"""

from __future__ import annotations

import sqlite3
import time

import structlog

from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.integrity.inspection import rows_in
from agent.integrity.kept import ORDER_KEY, UnknownEntry, one
from agent.integrity.settling import Settler, Unsettled
from agent.replication.elsewhere import Elsewhere
from agent.settings import Settings
from agent.storage.staging import DiskFailed, DiskFull
from portside.tokens import SigningKey

_log = structlog.get_logger()

LOOK_EVERY = 2.0
"""Seconds between two looks for what is ordered."""

ASK_EVERY = 600.0
"""Seconds between two questions after one file: a word counts for an hour."""

MOST_ASKED = 100
"""Files that are asked after, of all that are in quarantine: more are a broken disk."""

_BEHIND = "quarantine-fetch;"
"""Behind the key of every order, before any other: so that the notes' own index finds them."""


class _Stopped(Exception):
    """The worker stops in the middle of it."""


class SettlingRounds:
    """One node's. `run` is one thread's work."""

    def __init__(self, settings: Settings, database: Database, key: SigningKey) -> None:
        """Raises TrustError when the cluster's own authority can't be read."""
        self._settings = settings
        self._database = database
        self._key = key
        self._elsewhere = Elsewhere(settings, key)
        self._asked: dict[str, float] = {}

    def run(self, pulse: Pulse) -> None:
        """Fetch what is ordered and ask after the others until the worker is to stop."""

        def pace(size: int) -> None:
            pulse.beat()
            if pulse.stopped:
                raise _Stopped

        settler = Settler(self._settings, self._database, self._key, pace)
        while not pulse.stopped:
            try:
                self._fetch_ordered(settler)
                self._ask(settler)
            except _Stopped:
                return
            except (sqlite3.OperationalError, DiskFull, DiskFailed, OSError) as error:
                _log.error("quarantine not looked after", error=str(error))
            pulse.wait(LOOK_EVERY)

    def _fetch_ordered(self, settler: Settler) -> None:
        orders = self._database.rows(
            "SELECT key FROM notes WHERE key > ? AND key < ? AND value = '' ORDER BY key",
            (ORDER_KEY, _BEHIND),
        )
        for (key,) in orders:
            kept_id = key.removeprefix(ORDER_KEY)
            try:
                entry = one(self._settings, self._database, kept_id)
                done = settler.fetch(entry, self._elsewhere)
                _log.info("ordered file fetched", kept_id=kept_id, done=done)
            except UnknownEntry:
                self._forget(key)
            except (Unsettled, DiskFull, DiskFailed) as error:
                _log.warning("ordered file not fetched", kept_id=kept_id, error=str(error))
                self._database.take_note(key, str(error)[:500])
            else:
                self._forget(key)

    def _forget(self, key: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM notes WHERE key = ?", (key,))

    def _ask(self, settler: Settler) -> None:
        now = time.monotonic()
        rows = rows_in(self._database, "QUARANTINED", "", MOST_ASKED)
        asked = {row.file_id: self._asked.get(row.file_id, -ASK_EVERY) for row in rows}
        for file_id, at in asked.items():
            if now - at < ASK_EVERY:
                continue
            asked[file_id] = now
            try:
                settler.ask(one(self._settings, self._database, file_id), self._elsewhere)
            except UnknownEntry:
                # Settled meanwhile.
                continue
        self._asked = asked
