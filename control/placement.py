"""Which node a file goes to: a pure choice among places, from what is known of them now.

Only places that are healthy come here (`control.snapshot`). Of those with room for the file the
best is chosen by tier (hot before warm before cold), then priority, then region, then how full and
how busy a place is for its weight; those that are alike take turns by chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from portside.control_wire import Tier

_TIER: dict[str, int] = {"hot": 0, "warm": 1, "cold": 2}

_STEPS = 50
"""Fullness counts in steps of 2 %: places as full as each other share the uploads evenly."""


@dataclass(slots=True)
class Place:
    """A pool that may take files. `room` and `opened` go along with what is promised meanwhile."""

    pool_id: str
    node_id: str
    tier: Tier
    priority: int
    region: str | None
    weight: int
    is_upload_target: bool
    room: int
    """Bytes that may still be promised."""
    limit: int
    """The most that the pool's running `reserved` may be: `room` above what it was."""
    used: float
    """The share of it that is stored or promised, from 0 to 1."""
    opened: int
    """Sessions that are open, and uploads that are running."""

    def promise(self, size: int) -> None:
        """A session was opened here: until the next snapshot it is remembered like this."""
        self.room -= size
        self.opened += 1


def choose(
    places: Iterable[Place],
    size: int,
    random: Random,
    *,
    count: int = 1,
    region: str | None = None,
    without: Sequence[str] = (),
    for_uploads: bool = True,
) -> list[Place]:
    """The best places for a file of `size` bytes, best first: at most `count`, on as many nodes.

    `without` names nodes that are no choice, `region` is the one that is preferred. Empty when
    nothing has room. With `for_uploads` false, pools that take copies but no uploads count too.
    """
    fitting = [
        (_rank(place, region), random.random(), number, place)
        for number, place in enumerate(places)
        if place.room >= size
        and place.weight > 0
        and (place.is_upload_target or not for_uploads)
        and place.node_id not in without
    ]
    if count == 1:
        return [min(fitting)[3]] if fitting else []
    chosen: dict[str, Place] = {}
    heapq.heapify(fitting)
    while fitting and len(chosen) < count:
        place = heapq.heappop(fitting)[3]
        # A node's second pool is no second node.
        chosen.setdefault(place.node_id, place)
    return list(chosen.values())


def _rank(place: Place, region: str | None) -> tuple[int, int, bool, float, float]:
    elsewhere = region is not None and place.region != region
    return (
        _TIER[place.tier],
        -place.priority,
        elsewhere,
        int(place.used * _STEPS) / place.weight,
        place.opened / place.weight,
    )
