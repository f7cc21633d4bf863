"""The control plane's worker: a service of its own that goes rounds (`control.worker.rounds`) and,
between them, asks nodes from outside, a few each second (`control.nodes.reachability`). Of several
workers whoever went the last round does. Alerts travel in threads of their own.

A routine that fails unforeseen ends the worker, so that systemd starts it anew and the log has the
reason; one that hangs is noticed by systemd's watchdog.
"""

from __future__ import annotations

import os
import queue
import signal
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from gunicorn.systemd import sd_notify

from control.alerts import channels
from control.alerts.courier import Courier
from control.db.database import Database, DatabaseUnavailable
from control.nodes import reachability
from control.settings import Settings
from control.worker.rounds import EVERY, Rounds

_log = structlog.get_logger()

TICK = 1.0
"""Seconds between two looks at what is due."""


def run(settings: Settings) -> None:
    """Work until SIGTERM."""
    # A queue and not an event: its `put` may interrupt its `get`.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: signals.put(received))
    database = Database(settings.database_url(), connections=4)
    couriers = [
        Courier(channel, deliver, database, lambda: datetime.now(UTC))
        for channel, deliver in channels.of(settings).items()
    ]
    rounds = Rounds(settings, database, lambda: datetime.now(UTC))
    _notify("READY=1")
    _log.info("worker started")
    trusted = reachability.trust(settings.ca)
    if not settings.probe:
        _forget_asking(database)
    for each in couriers:
        each.start()
    due, ours = 0.0, False
    while True:
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY
            ours = rounds.go()
        if ours and settings.probe:
            _ask_nodes(database, trusted)
        for each in couriers:
            if each.failed is not None:
                raise each.failed
        _notify("WATCHDOG=1")
        try:
            signals.get(timeout=TICK)
        except queue.Empty:
            continue
        break
    _notify("STOPPING=1")
    for each in couriers:
        each.stop()
    database.close()


def _ask_nodes(database: Database, trusted: ssl.SSLContext) -> None:
    """Ask those whose turn it is. A database that is away is in the log, and asked again soon."""
    with suppress(DatabaseUnavailable):
        reachability.check(
            database, trusted, datetime.now(UTC), reachability.EVERY, TICK / reachability.EVERY
        )


def _forget_asking(database: Database) -> None:
    """Let go of what was found while nodes were still asked: nobody will ask again."""
    try:
        reachability.forget(database)
    except DatabaseUnavailable as error:
        # So that systemd starts this one anew: what is left would leave nodes out for good.
        raise SystemExit(f"the database is away: {error}") from None


def _notify(state: str) -> None:
    if os.environ.get("NOTIFY_SOCKET"):
        sd_notify(state, _log)
