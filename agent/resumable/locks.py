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

from agent.problems import ProblemError

TAKEOVER = 20.0
"""Seconds that a newer request waits for an older one to put its bytes on disk and end."""


class UploadLocks:
    """Who is at which upload, in this process. Thread-safe."""

    def __init__(self) -> None:
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
        deadline = time.monotonic() + TAKEOVER
        with self._changed:
            while upload_id in self._interrupt:
                self._interrupt[upload_id]()
                if not self._changed.wait(max(0.0, deadline - time.monotonic())):
                    raise ProblemError(
                        "upload-locked", "another request is still at this upload: try again"
                    )
            self._interrupt[upload_id] = interrupt
