"""An end to every exchange: a receiver that sends a byte now and then is cut off."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

DEADLINE = 60.0
"""Seconds in all once connected: an attempt is over before anybody else may make it."""


@contextmanager
def cut_off(of: Callable[[], socket.socket | None], after: float = DEADLINE) -> Iterator[None]:
    """Shut the connection down once the time is over.

    Raises TimeoutError then, also where what had come by that time looks like an answer.
    """
    over = threading.Event()

    def cut() -> None:
        over.set()
        connection = of()
        if connection is not None:
            with suppress(OSError):
                # Below TLS, whose own `shutdown` would take its state away from who is reading.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    timer = threading.Timer(after, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if over.is_set():
            raise TimeoutError(f"no answer within {after:.0f} s") from None
