"""What ends uploads here for the good of another process: it is looked after beside the requests.

A process that drains hands back what another one can go on with, when memory is short.

An upload may take hours, and as long as its request is at work, so is its process. A client of a
resumable upload has no use for that: it is told to come again, what it has sent is durable, and the
process that serves takes the rest. What comes in one request can't be handed back.

Single uploads give way to those of another process, which asks for them
(`agent.uploads.shared.asking`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.uploads.admission import Admission
from portside.serving.status import is_asked_to_hand_back

EVERY = 0.5
"""Seconds between two looks, at files in memory: a newcomer waits for what is seen then."""

_log = structlog.get_logger()


def watch(admission: Admission, runtime: Path, every: float = EVERY) -> Callable[[], None]:
    """Look whether any of it is asked for until what is returned is called."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(every):
            if is_asked_to_hand_back(runtime) and (count := admission.hand_back()):
                _log.info("uploads handed back to the process that serves", uploads=count)
            if count := admission.heed_others():
                _log.info("uploads give way to another process's", uploads=count)

    threading.Thread(target=look, name="handing back", daemon=True).start()
    return over.set
