"""When to try again, and when to give up: by what the attempts bring, not by how many they are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from portside.backoff import Backoff, spread
from portside.client.http.errors import NodeUnavailable

T = TypeVar("T")

ATTEMPTS = 10
"""Failures in a row, none of which brought a new byte, before an upload is given up. With the
pauses between them that is some two minutes: a node has booted by then."""

SHORTEST_PAUSE = 0.5
LONGEST_PAUSE = 30.0

LONGEST_REQUESTED_PAUSE = 90.0
"""More than this no Retry-After can ask for."""

Waiting = Callable[[float, NodeUnavailable], None]
"""Called with the seconds until the next attempt and why it is needed."""


class Patience:
    """The attempts at one thing. `sleep` may raise to end the waiting."""

    def __init__(self, on_wait: Waiting, sleep: Callable[[float], None] | None = None) -> None:
        self._on_wait = on_wait
        self._sleep = sleep or time.sleep
        self._in_vain = 0

    def call(self, attempt: Callable[[], T]) -> T:
        """What `attempt` returns in the end. Raises its last NodeUnavailable."""
        while True:
            try:
                return attempt()
            except NodeUnavailable as reason:
                self.wait(reason)

    def reward(self) -> None:
        """Something was achieved: count the failures from here."""
        self._in_vain = 0

    def wait(self, reason: NodeUnavailable) -> None:
        """Sleep until it is time to try again. Raises `reason` when that is no use any more."""
        self._in_vain += 1
        if not reason.passing:
            raise reason
        if self._in_vain >= ATTEMPTS:
            raise NodeUnavailable(
                f"{reason}; given up after {ATTEMPTS} attempts without a new byte",
                reason.problem,
                reason.retry_after,
            )
        pause = self._pause(reason)
        self._on_wait(pause, reason)
        self._sleep(pause)

    def _pause(self, reason: NodeUnavailable) -> float:
        if reason.retry_after is not None:
            asked = min(reason.retry_after, LONGEST_REQUESTED_PAUSE)
            return spread(max(asked, SHORTEST_PAUSE), (1.0, 1.5))
        return Backoff(SHORTEST_PAUSE, LONGEST_PAUSE, (0.5, 1.0)).pause(self._in_vain)
