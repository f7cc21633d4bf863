"""Whose clock is wrong when this one and the nodes' differ. Pure.

One machine can't know. But nodes don't go wrong together: when most of them differ from this one to
the same side, it is this one, and nothing may end by it.
"""

from __future__ import annotations

from collections.abc import Collection
from statistics import median

from portside.tokens import LEEWAY


def error(skews: Collection[float]) -> float | None:
    """Seconds by which this clock seems to be ahead, negative when behind; None while it is right.

    `skews` are those of the nodes that are heard (`Signs.clock_skew`). Of a single node that is off
    it can't be said who is: then it is taken to be this one, for that ends nothing.
    """
    ahead = [skew for skew in skews if skew > LEEWAY]
    behind = [skew for skew in skews if skew < -LEEWAY]
    side = max(ahead, behind, key=len)
    return -median(side) if side and 2 * len(side) > len(skews) else None
