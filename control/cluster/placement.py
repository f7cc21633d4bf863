"""Which node a file goes to: a pure choice among places, from what is known of them now.

Only places that are healthy come here (`control.cluster.snapshot`). Of those with room for the file
the best is chosen by tier (hot before warm before cold), then priority, then region, then how full
and how busy a place is for its weight; those that are alike take turns, in an order left to chance.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random

from portside.wire.heartbeat import Tier

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
    touched: bool = False
    """Whether it has gone along with promises since it was made of rows."""

    def promise(self, size: int) -> None:
        """A session was opened here: until the next snapshot it is remembered like this."""
        self.room -= size
        self.opened += 1
        self.touched = True

    def fill_up(self) -> None:
        """Others promised what was left: until the next snapshot nothing is placed here."""
        self.room = 0
        self.touched = True


class Ranking:
    """Places in the order in which they are taken, kept while promises change it. Thread-safe.

    Put in order once for each region that is asked for, so that a choice costs a few steps however
    many places there are. Until it ends no place gets better, only worse by what is promised
    (`Place.promise`): an entry that is found outdated goes further back.
    """

    def __init__(self, places: Iterable[Place]) -> None:
        self._places = tuple(place for place in places if place.weight > 0)
        self._regions = {place.region for place in self._places}
        self._lock = threading.Lock()
        self._heaps: dict[str | None, list[_Entry]] = {}
        self._turns = itertools.count(1)

    def choose(
        self,
        size: int,
        random: Random,
        *,
        count: int = 1,
        region: str | None = None,
        without: Sequence[str] = (),
        on: str | None = None,
        for_uploads: bool = True,
    ) -> list[Place]:
        """As the function `choose`, among these places, or those on one node."""
        # A region that nobody is in is no preference.
        wanted = region if region in self._regions else None
        chosen: dict[str, Place] = {}
        with self._lock:
            heap = self._heap(wanted, random)
            passed = []
            while heap and len(chosen) < count:
                rank, _, number = heap[0]
                place = self._places[number]
                now = _rank(place, wanted)
                if now != rank:
                    heapq.heapreplace(heap, (now, next(self._turns), number))
                    continue
                heapq.heappop(heap)
                # Behind those that are alike: they take turns.
                passed.append((rank, next(self._turns), number))
                if (
                    place.room >= size
                    and (place.is_upload_target or not for_uploads)
                    and place.node_id not in without
                    and on in (None, place.node_id)
                ):
                    # A node's second pool is no second node.
                    chosen.setdefault(place.node_id, place)
            for entry in passed:
                heapq.heappush(heap, entry)
        return list(chosen.values())

    def _heap(self, region: str | None, random: Random) -> list[_Entry]:
        heap = self._heaps.get(region)
        if heap is None:
            heap = [
                (_rank(place, region), random.random(), number)
                for number, place in enumerate(self._places)
            ]
            heapq.heapify(heap)
            self._heaps[region] = heap
        return heap


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
    return Ranking(places).choose(
        size, random, count=count, region=region, without=without, for_uploads=for_uploads
    )


_Rank = tuple[int, int, bool, float, float]
_Entry = tuple[_Rank, float, int]


def _rank(place: Place, region: str | None) -> _Rank:
    elsewhere = region is not None and place.region != region
    return (
        _TIER[place.tier],
        -place.priority,
        elsewhere,
        int(place.used * _STEPS) / place.weight,
        place.opened / place.weight,
    )
