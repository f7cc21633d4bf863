"""How full the nodes are beside each other, and what brings them closer together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeUsage:
    """How full a node is: bytes that are stored and on their way, of those that it can hold."""

    node_id: str
    used: int
    capacity: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.used / self.capacity if self.capacity else 1.0


def mean_share(usages: Sequence[NodeUsage]) -> float:
    """How full the nodes are together."""
    capacity = sum(each.capacity for each in usages)
    return sum(each.used for each in usages) / capacity if capacity else 1.0


def fullest_over(usages: Sequence[NodeUsage], band: float) -> NodeUsage | None:
    """The fullest node if it is more than half of `band` above the mean, else None: balanced."""
    fullest = max(usages, key=lambda each: (each.share, each.node_id), default=None)
    if fullest is None or fullest.share <= mean_share(usages) + band / 2:
        return None
    return fullest


def improves(usages: Sequence[NodeUsage], source: str, target: str, size: int) -> bool:
    """Whether moving `size` bytes brings both nodes closer together, and never past each other."""
    by_id = {each.node_id: each for each in usages}
    giver, taker = by_id[source], by_id[target]
    left = NodeUsage(source, giver.used - size, giver.capacity)
    right = NodeUsage(target, taker.used + size, taker.capacity)
    return right.share <= left.share
