"""One request at a time per upload: a newer one ends an older one that hangs.

A client that lost its connection comes back before the node has noticed. What it was sending may
stand still for hours; its next question about the offset must not wait for that, and must not be
answered while bytes are still being written.
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


class UploadLocks:
    """Who is at which upload, in this process. Thread-safe."""

    def __init__(self, spare: SpareThreads) -> None:
        self._spare = spare
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
            yield
        finally:
            with self._changed:
                del self._interrupt[upload_id]
                self._changed.notify_all()

    def is_held(self, upload_id: str) -> bool:
        """Whether a request is at this upload right now."""
        with self._changed:
            return upload_id in self._interrupt

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
                    raise ProblemError(
                        "upload-locked", "another request is still at this upload: try again"
                    )
