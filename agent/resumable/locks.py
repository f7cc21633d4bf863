"""One request at a time per upload: a newer one ends an older one that hangs.

A client that lost its connection comes back before the node has noticed. What it was sending may
stand still for hours; its next question about the offset must not wait for that, and must not be
answered while bytes are still being written. An older one may be in a process that drains.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from agent.host.spare_threads import SpareThreads
from agent.problems import ProblemError

TAKEOVER = 20.0
"""Seconds that a newer request waits for an older one to put its bytes on disk and end."""


LOOK = 0.1
"""Seconds after which it is seen that another process's request has ended."""


def _nowhere(upload_id: str) -> bool:
    return False


class UploadLocks:
    """Who is at which upload. Thread-safe."""

    def __init__(
        self,
        spare: SpareThreads,
        is_elsewhere: Callable[[str], bool] = _nowhere,
        take_over: Callable[[str], bool] = _nowhere,
    ) -> None:
        """`is_elsewhere`: whether another process has a request at an upload; `take_over` says
        that too, and asks for its end.
        """
        self._spare = spare
        self._is_elsewhere = is_elsewhere
        self._take_over = take_over
        self._changed = threading.Condition()
        self._interrupt: dict[str, Callable[[], None]] = {}

    @contextmanager
    def alone(self, upload_id: str, interrupt: Callable[[], None]) -> Iterator[None]:
        """Hold an upload; whoever holds it is interrupted first.

        `interrupt` is how a later request ends this one. Raises ProblemError when the older one
        doesn't end in time.
        """
        self._take(upload_id, interrupt)
        try:
            if self._take_over(upload_id):
                self._wait_for_another_process(upload_id)
            yield
        finally:
            with self._changed:
                del self._interrupt[upload_id]
                self._changed.notify_all()

    def is_held(self, upload_id: str) -> bool:
        """Whether a request is at this upload right now."""
        with self._changed:
            if upload_id in self._interrupt:
                return True
        return self._is_elsewhere(upload_id)

    def _take(self, upload_id: str, interrupt: Callable[[], None]) -> None:
        with self._changed:
            if upload_id in self._interrupt:
                self._wait_for(upload_id)
            self._interrupt[upload_id] = interrupt

    def _wait_for(self, upload_id: str) -> None:
        """Who waits has no slot yet, and a thread all the same: only so many may."""
        deadline = time.monotonic() + TAKEOVER
        with self._spare.waiting() as may_wait:
            while upload_id in self._interrupt:
                self._interrupt[upload_id]()
                left = max(0.0, deadline - time.monotonic())
                if not (may_wait and self._changed.wait(left)):
                    raise _locked()

    def _wait_for_another_process(self, upload_id: str) -> None:
        deadline = time.monotonic() + TAKEOVER
        with self._spare.waiting() as may_wait:
            while self._take_over(upload_id):
                if not may_wait or time.monotonic() > deadline:
                    raise _locked()
                time.sleep(LOOK)


def _locked() -> ProblemError:
    return ProblemError("upload-locked", "another request is still at this upload: try again")
