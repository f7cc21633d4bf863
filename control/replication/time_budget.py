"""How long a part of the worker's round may take, so that the others have their turn."""

from __future__ import annotations

import time

SECONDS = 3.0
"""Of each part. A round that took longer than nodes may be silent would hide that they are."""


class TimeBudget:
    """A part's time in one round."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._until = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Whether the rest is left to the next round."""
        return time.monotonic() >= self._until
