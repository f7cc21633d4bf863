"""How long to wait after failures: a pause that doubles up to a longest one, partly left to chance.

What was turned away or cut off together must not come back together, so each pause is a random
share of the doubled one. With the whole range from nothing to all of it (full jitter) load spreads
best; a narrower one keeps a minimum of patience. The first failure in a row has the first pause.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_MOST_DOUBLINGS = 32
"""So that no number grows without need."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses from `first` to `longest` seconds, of which a share within `spread` is waited."""

    first: float
    longest: float
    spread: tuple[float, float] = (0.0, 1.0)

    def most(self, failures: int) -> float:
        """Seconds after this many failures in a row (from 1), before chance has its part."""
        return min(self.longest, self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))

    def pause(self, failures: int, chance: float | None = None) -> float:
        """Seconds to wait after this many failures in a row (from 1).

        `chance` is a number from 0 to 1; a random one if it isn't given.
        """
        return spread(self.most(failures), self.spread, chance)


def spread(seconds: float, shares: tuple[float, float], chance: float | None = None) -> float:
    """A share of `seconds` between the two, by `chance` (0 to 1; random without it)."""
    least, most = shares
    lot = random.random() if chance is None else chance  # noqa: S311 (jitter, no secret)
    return seconds * (least + (most - least) * lot)
