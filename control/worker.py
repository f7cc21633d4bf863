"""The control plane's worker: a service of its own that goes rounds (`control.rounds`).

A routine that fails unforeseen ends the worker, so that systemd starts it anew and the log has the
reason; one that hangs is noticed by systemd's watchdog.
"""

from __future__ import annotations

import os
import queue
import signal
from datetime import UTC, datetime

import structlog
from gunicorn.systemd import sd_notify

from control.database import Database
from control.rounds import EVERY, Rounds
from control.settings import Settings

_log = structlog.get_logger()


def run(settings: Settings) -> None:
    """Work until SIGTERM."""
    # A queue and not an event: its `put` may interrupt its `get`.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: signals.put(received))
    database = Database(settings.database_url(), connections=4)
    rounds = Rounds(settings, database, lambda: datetime.now(UTC))
    _notify("READY=1")
    _log.info("worker started")
    while True:
        rounds.go()
        _notify("WATCHDOG=1")
        try:
            signals.get(timeout=EVERY)
        except queue.Empty:
            continue
        break
    _notify("STOPPING=1")
    database.close()


def _notify(state: str) -> None:
    if os.environ.get("NOTIFY_SOCKET"):
        sd_notify(state, _log)
