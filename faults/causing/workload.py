"""Several writers at once, until the crash takes their node away."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

Writer = Callable[[Event], None]
"""Uploads one file after the other until the event is set or its node is gone."""


def under_load(writers: Sequence[Writer], seconds: float, crash: Callable[[], None]) -> None:
    """Let the writers run, then `crash` in the middle of it, and wait for them to notice."""
    stop = Event()
    with ThreadPoolExecutor(len(writers), thread_name_prefix="writer") as pool:
        running = [pool.submit(writer, stop) for writer in writers]
        try:
            time.sleep(seconds)
        finally:
            stop.set()
            crash()
    for each in running:
        each.result()
