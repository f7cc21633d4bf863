"""Ask a supervisor for a new generation, and wait until one serves: what `systemctl reload` runs.

Its outcome is the reload's: systemd, the deploy and people see whether the new one has taken over.
Who is about to change something asks first whether there is room for a new one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from portside.serving import status
from portside.serving.status import Status

PATIENCE = 30.0
"""Seconds in which those that drain may hand back what they have, before it is said that it waits.
"""

LINGER = 2.5
"""Seconds in which gunicorn still answers on connections that were kept open when it is told to
drain (STOP_KEEPALIVE_LINGER of its gthread worker, and a little)."""


def ask(runtime: Path, supervisor: int, within: float) -> str | None:
    """Have the supervisor with this process number reload. See wait_for."""
    path = status.runtime_file(runtime)
    before = status.read(path).asked
    os.kill(supervisor, signal.SIGHUP)
    deadline = time.monotonic() + within
    while (asked := status.read(path).asked) == before:
        if time.monotonic() > deadline:
            return "it doesn't react"
        time.sleep(0.02)
    return wait_for(runtime, asked, deadline - time.monotonic())


def wait_for(runtime: Path, number: int, within: float) -> str | None:
    """Wait until what was asked as `number` serves. None when it does, else why not, for people."""
    path = status.runtime_file(runtime)
    begun = time.monotonic()
    while True:
        said = status.read(path)
        outcome = said.outcome(number)
        if outcome == "served":
            return None
        if outcome == "failed":
            return "the new process ended before it could serve, the one before it goes on"
        passed = time.monotonic() - begun
        if said.waits and passed > min(PATIENCE, within):
            return (
                f"{_without_room(said)}: the new one takes over by itself as soon as one of them "
                "has ended; the one before it goes on"
            )
        if passed > within:
            return f"the new process can't serve yet after {within:.0f} s"
        time.sleep(0.05)


def make_room(runtime: Path, within: float = PATIENCE) -> str | None:
    """Wait until a new generation could start at once; None when it could, else why not.

    Those that drain are asked to hand back what can go on elsewhere.
    """
    path = status.runtime_file(runtime)
    deadline = time.monotonic() + within
    asked: set[int] = set()
    while True:
        said = status.read(path)
        for process in asked.difference(said.draining):
            # It may have ended, and its request been taken away, while it was asked.
            status.hand_back_file(runtime, process).unlink(missing_ok=True)
        if said.serving is None or 1 + len(said.draining) < said.most:
            return None
        if time.monotonic() > deadline:
            return f"{_without_room(said)}: there is room for a new one once one of them has ended"
        asked |= set(said.draining)
        for process in said.draining:
            # Where it can't be asked, it is waited for.
            with contextlib.suppress(OSError):
                status.hand_back_file(runtime, process).touch()
        time.sleep(0.1)


def _without_room(said: Status) -> str:
    return (
        "as many older processes as there is memory for still finish what they have "
        f"({len(said.draining)}, beside the one that serves)"
    )
