"""What one process asks of another: that an upload there gives way to one here. Pure.

Only the process that receives an upload's bytes can end it. It tells who is idle, whoever has the
newcomer decides by the same rules as among its own, and the other looks once more before it ends
anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from agent.uploads.shared.entries import Elsewhere, Entry


class GivesWay(Protocol):
    """Who has a slot, as far as a newcomer needs it."""

    @property
    def told(self) -> bool:
        """Whether it was told to give way."""

    def idle_for(self) -> float:
        """Seconds by which its client is behind the least rate."""

    def give_way(self) -> None:
        """Tell it to end."""


@dataclass(frozen=True, slots=True)
class Away:
    """An upload whose bytes come to another process, by what that tells of it."""

    entry: Entry
    asks: dict[str, bool]
    """See `still_meant`; this one's key is put there."""
    clock: Callable[[], float]

    @property
    def told(self) -> bool:
        """See GivesWay."""
        return self.entry.gives_way or self.entry.key in self.asks

    def idle_for(self) -> float:
        """See GivesWay; 0 until it may be ended for that."""
        since = self.entry.idle_since
        return 0.0 if since is None else self.clock() - since

    def give_way(self) -> None:
        """See GivesWay."""
        self.asks.setdefault(self.entry.key, False)


def still_meant(asks: Mapping[str, bool], elsewhere: Elsewhere) -> dict[str, bool]:
    """The keys that others are asked to end, true for those that a newer request takes over.

    Without those that have ended, or whose clients send again.
    """
    there = {each.key: each for each in elsewhere.with_slots}
    return {
        key: takes_over
        for key, takes_over in asks.items()
        if key in there and (takes_over or there[key].idle_since is not None)
    }
