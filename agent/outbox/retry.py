"""What follows an attempt that failed: another one, later and later, or the list of those given up.

The rows of deliveries and of pushes (`agent.replication.queue`) keep it across restarts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from portside.backoff import Backoff

LONGEST_ERROR = 500
"""Characters of an error that are kept."""


@dataclass(frozen=True, slots=True)
class Following:
    """Another attempt at `due`, Unix seconds, or none; `attempts` were made in vain by now."""

    state: Literal["WAITING", "DEAD"]
    attempts: int
    due: int
    error: str


@dataclass(frozen=True, slots=True)
class Schedule:
    """Attempts with growing pauses, the `most`th in vain being the last."""

    backoff: Backoff
    most: int

    def following(
        self, attempts: int, error: str, now: int, chance: float, wait: int = 0
    ) -> Following:
        """What comes after the failure that is this number of `attempts` (from 1).

        `wait` are seconds that were asked for: the next attempt comes no sooner. `chance` is a
        random number from 0 to 1.
        """
        if attempts >= self.most:
            return given_up(attempts, error, now)
        pause = max(1, round(self.backoff.pause(attempts, chance)), wait)
        return Following("WAITING", attempts, now + pause, error[:LONGEST_ERROR])


def given_up(attempts: int, error: str, now: int) -> Following:
    """No other attempt, until somebody asks for one."""
    return Following("DEAD", attempts, now, error[:LONGEST_ERROR])
