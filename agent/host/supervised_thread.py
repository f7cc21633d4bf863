"""Threads that show that they live: the worker's supervisor and systemd's watchdog look at them.

An activity that fails ends the worker, so that systemd starts it anew and somebody reads of it in
the log; one that hangs stops the watchdog's pings. Neither goes on half.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

import structlog

_log = structlog.get_logger()

_SLICE = 5.0
"""Seconds: the longest sleep between two beats."""

_PAUSE = 30.0
"""Seconds before something is written again that the database didn't take."""


class Pulse:
    """One activity's sign of life, and its view of whether the worker is to stop."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._last = time.monotonic()

    @property
    def stopped(self) -> bool:
        """Whether the worker is to stop: return as soon as what is begun can be left."""
        return self._stopping.is_set()

    def beat(self) -> None:
        """Something was done."""
        self._last = time.monotonic()

    def age(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    def wait(self, seconds: float) -> None:
        """Sleep, and show life meanwhile. Returns early when the worker is to stop."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._stopping.wait(min(left, _SLICE)):
            self.beat()
        self.beat()


Work = Callable[[Pulse], None]


class SupervisedThread:
    """A thread that works until it is told to stop, or fails and with it the worker."""

    def __init__(self, name: str, work: Work, stopping: threading.Event) -> None:
        self.name = name
        self.pulse = Pulse(stopping)
        self.failed = False
        self._work = work
        self._stopping = stopping
        # A daemon: the worker's end waits for a hanging network or disk for some seconds only.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def ended(self, timeout: float) -> bool:
        """Whether the thread is at its end, after waiting for that for at most `timeout` s."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work(self.pulse)
        except Exception as error:
            _log.critical("activity failed", activity=self.name, exc_info=error)
            self.failed = True
        if not self.pulse.stopped:
            # Whatever ends before it is told to has failed, even if it did so quietly.
            self.failed = True
            self._stopping.set()


def patiently(pulse: Pulse, write: Callable[[], None]) -> bool:
    """Write to the database, again and again while it is full or busy: False if stopped meanwhile.

    For what must not be done twice because its outcome was not written down.
    """
    while True:
        try:
            write()
            return True
        except sqlite3.OperationalError as error:
            _log.error("the database took nothing, trying again", error=str(error))
        pulse.wait(_PAUSE)
        if pulse.stopped:
            return False
