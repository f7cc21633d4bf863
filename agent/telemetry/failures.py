"""The last uploads that failed: when, how they were sent, why. In memory, for upload-status.

Whoever may ask for a node's status may read this: so neither names nor owners, which the log has
under the same request's id.
"""

from __future__ import annotations

import threading
from collections import deque
from datetime import UTC, datetime

from portside.journal import request_id
from portside.wire.status import MOST_FAILURES, FailedUpload


class RecentFailures:
    """Those of one agent process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[FailedUpload] = deque(maxlen=MOST_FAILURES)

    def add(self, way: str, problem: str) -> None:
        """A request that brought bytes of a file has ended with this problem, now."""
        now = datetime.now(UTC)
        failed = FailedUpload(at=now, way=way, problem=problem, request_id=request_id())
        with self._lock:
            self._last.appendleft(failed)

    def newest_first(self) -> tuple[FailedUpload, ...]:
        """All that are kept."""
        with self._lock:
            return tuple(self._last)
