"""Who may have how much of a bandwidth that is scarce: max-min fairness. Pure.

What comes in is owed, and a node's bandwidth pays what is owed: first shared evenly among the
owners that owe, then among each one's uploads. What one doesn't need goes to the others, so that
nothing is left unused while anybody could use it, and nobody gets less for sending alone. Nothing
is saved up: who was slow for an hour has no burst to claim.

This is the fluid model of fair queueing (generalized processor sharing: Parekh and Gallager, 1993),
in steps as short as requests come by.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from portside.cluster.bandwidth import BandwidthLimits
from portside.quantities import KIB

STEP = 0.1
"""Seconds of its rate that an upload may owe, and reads at once: short enough that bytes flow
evenly, long enough that few calls are made and that whoever wakes late misses nothing."""

LEAST_PIECE = 4 * KIB
"""Bytes that are read at once where the rate is so low that STEP has less."""

LEFT_BEHIND = 1.0
"""Seconds of the node's bandwidth that uploads may owe which have ended: then newcomers wait, or
many small files of as many owners, none of which has to, would have no bound at all."""

_SHORTEST = 0.002
"""Seconds between two payments: more often would cost more than it tells."""


def max_min(total: float, wants: Sequence[float]) -> list[float]:
    """`total` shared so that nobody gets more than it wants, and nobody less than another without
    having all that it wants.
    """
    shares = [0.0] * len(wants)
    left = total
    by_want = sorted(range(len(wants)), key=wants.__getitem__)
    for done, index in enumerate(by_want):
        shares[index] = min(wants[index], left / (len(wants) - done))
        left -= shares[index]
    return shares


@dataclass(slots=True)
class Lane:
    """What one upload travels on. It outlives the upload until what came is paid for."""

    upload: Hashable
    owed: float = 0.0
    """Bytes that have come and aren't paid for."""
    rate: float = 0.0
    """Bytes per second that were paid lately."""
    requests: int = 0
    """Requests that bring bytes: parts of one upload share a lane."""


@dataclass(slots=True)
class Party:
    """An owner with its uploads. `most`: bytes per second of it, `most_each` of an upload."""

    most: float
    most_each: float
    lanes: dict[Hashable, Lane] = field(default_factory=dict)

    @property
    def owing(self) -> list[Lane]:
        """The lanes that something is owed on."""
        return [lane for lane in self.lanes.values() if lane.owed > 0]

    def wants(self, seconds: float) -> float:
        """What may be paid at most for so long."""
        each = seconds * self.most_each
        return min(sum(min(lane.owed, each) for lane in self.owing), seconds * self.most)

    def pay(self, paid: float, seconds: float) -> None:
        """Share what is paid among the uploads."""
        owing, each = self.owing, seconds * self.most_each
        for lane, part in zip(
            owing, max_min(paid, [min(lane.owed, each) for lane in owing]), strict=True
        ):
            # What is left of a difference of floats is nothing that anybody waits for.
            lane.owed = lane.owed - part if lane.owed - part > 1e-6 else 0.0
            lane.rate += (part / seconds - lane.rate) * min(1.0, seconds / STEP)


class FairShare:
    """What is owed on one node. Not thread-safe; `now` is in seconds and never goes back."""

    def __init__(self, limits: BandwidthLimits) -> None:
        self._limits = limits
        self._node = limits.node or math.inf
        self._parties: dict[Hashable, Party] = {}
        self._paid_at = 0.0

    def __len__(self) -> int:
        """Lanes in memory."""
        return sum(len(each.lanes) for each in self._parties.values())

    def enter(self, party: Hashable, upload: Hashable, *, is_copy: bool) -> Lane:
        """A request of `upload` begins to bring bytes.

        An upload of which nothing is known goes on where one of the same owner has ended: many
        small files are no faster than a large one. Copies are bounded by the node alone.
        """
        own = self._parties.get(party)
        if own is None:
            most = math.inf if is_copy else self._limits.owner or math.inf
            most_each = math.inf if is_copy else self._limits.upload or math.inf
            own = self._parties[party] = Party(most, most_each)
        lane = own.lanes.get(upload) or _taken_over(own, upload)
        lane.requests += 1
        return lane

    def leave(self, party: Hashable, lane: Lane) -> None:
        """A request has ended; what it brought is still to be paid for."""
        lane.requests -= 1
        self._forget(party)

    def came(self, lane: Lane, count: int) -> None:
        """So many bytes have come."""
        if not lane.owed:
            # What it was paid before its pause is no measure of what it is paid now.
            lane.rate = 0.0
        lane.owed += count

    def piece(self, now: float, party: Hashable, lane: Lane, most: int) -> tuple[int, float]:
        """How many of `most` bytes may be read; 0 and the seconds to wait where none may yet."""
        self.pay(now)
        rate = max(lane.rate, self._even_share(self._parties[party], lane))
        if math.isinf(rate):
            return most, 0.0
        if not lane.owed and (beyond := self._left_behind() - LEFT_BEHIND * self._node) > 0:
            return 0, beyond / self._node
        piece = max(LEAST_PIECE, int(rate * STEP))
        if lane.owed <= piece:
            return min(most, piece), 0.0
        return 0, (lane.owed - piece) / rate

    def pay(self, now: float) -> None:
        """Pay what time has brought since it was paid last."""
        seconds = now - self._paid_at
        if seconds < _SHORTEST:
            return
        self._paid_at = now
        owing = [(key, each) for key, each in self._parties.items() if each.owing]
        paid = max_min(self._node * seconds, [each.wants(seconds) for _, each in owing])
        for (key, party), part in zip(owing, paid, strict=True):
            party.pay(part, seconds)
            self._forget(key)

    def _even_share(self, party: Party, lane: Lane) -> float:
        """What an upload gets for certain, with all others that owe something."""
        beside = 1 + sum(each is not lane for each in party.owing)
        parties = 1 + sum(each is not party and bool(each.owing) for each in self._parties.values())
        return min(party.most_each, party.most / beside, self._node / parties / beside)

    def _left_behind(self) -> float:
        """Bytes that are owed by uploads which have ended."""
        lanes = (lane for party in self._parties.values() for lane in party.lanes.values())
        return sum(lane.owed for lane in lanes if not lane.requests)

    def _forget(self, key: Hashable) -> None:
        party = self._parties[key]
        for lane in [each for each in party.lanes.values() if not (each.requests or each.owed)]:
            del party.lanes[lane.upload]
        if not party.lanes:
            del self._parties[key]


def _taken_over(party: Party, upload: Hashable) -> Lane:
    left = next((each for each in party.lanes.values() if not each.requests), None)
    if left is None:
        lane = Lane(upload)
    else:
        lane = party.lanes.pop(left.upload)
        lane.upload = upload
    party.lanes[upload] = lane
    return lane
