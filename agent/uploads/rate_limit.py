"""How many uploads one owner may begin on this node, and the problem of who begins more."""

from __future__ import annotations

import time
from collections.abc import Callable

from agent.problems import ProblemError
from portside.web.rate import Rate


class UploadRate:
    """Uploads begun by each owner in the last minute. Thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._rate = Rate(per_minute, clock)

    def check(self, owner: str) -> None:
        """Whether `owner` may begin an upload now: nothing is counted.

        Raises ProblemError `rate-limited` with the seconds to wait.
        """
        self._must_not_wait(self._rate.wait(owner))

    def take(self, owner: str) -> None:
        """Count an upload that begins. Raises as `check`; then it isn't counted."""
        self._must_not_wait(self._rate.take(owner))

    def _must_not_wait(self, seconds: int) -> None:
        if seconds:
            raise ProblemError(
                "rate-limited",
                f"{self._rate.per_minute} uploads a minute is all that one owner may begin here: "
                f"come again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    def __len__(self) -> int:
        """Owners in memory."""
        return len(self._rate)
