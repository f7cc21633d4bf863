"""Who has the node's slots, who may have one, and who gives way when they are scarce.

A silent upload may last while slots are free. When they get scarce the idlest give way: first
those in the way of a newcomer, then whoever is idle beyond four fifths of the slots. Nobody who
sends is ever ended, and nobody whom a bound of bandwidth keeps from sending. In which process the
bytes come makes no difference (`agent.uploads.shared.asking`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from agent.incoming.receiving import Receiving
from agent.problems import ProblemError
from agent.uploads.bandwidth import Bandwidth
from agent.uploads.shared.asking import Away, GivesWay, still_meant
from agent.uploads.shared.entries import Elsewhere, Entry
from agent.uploads.shares import Kind, Sender, Share, SlotShares, part
from portside.wire.status import SlotStatus

SCARCE = 0.8
"""Of the slots: a burst of newcomers finds the rest free."""

RETRY_AFTER = {"Retry-After": "10"}
"""Slots turn over that fast."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a slot."""

    kind: Kind
    parties: frozenset[tuple[str, str]]
    receiving: Receiving
    resumable: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """Why there is no slot, and who has those that are missing, in whichever process."""

    problem: ProblemError
    holders: tuple[GivesWay, ...]


class Slots:
    """The slots of a node, of which this process has given some. Under the lock of the ledger."""

    def __init__(
        self,
        limit: int,
        shares: SlotShares,
        bandwidth: Bandwidth,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._bandwidth = bandwidth
        self.limit = limit
        self.shares = shares
        self.ended = 0
        """Uploads that were told to give way, since the start."""
        self.elsewhere = Elsewhere()
        """Those that other processes have given."""
        self.asks: dict[str, bool] = {}
        """Who of them is to give way (`agent.uploads.shared.asking`)."""
        self._holders: dict[str, Holder] = {}
        self._said: dict[str, tuple[bool, bool]] = {}
        """What others were told last: whether it is idle, and whether it gives way."""

    def count(self, elsewhere: Elsewhere) -> None:
        """What other processes have given by now."""
        self.elsewhere = elsewhere
        self.asks = still_meant(self.asks, elsewhere)

    @property
    def used(self) -> int:
        """Slots in use, of all processes."""
        return len(self._holders) + len(self.elsewhere.with_slots)

    def status(self) -> SlotStatus:
        """As upload-status tells it."""
        return SlotStatus(
            used=self.used,
            limit=self.limit,
            per_token=self.shares.per_token,
            per_owner=part(self.shares.per_owner, self.limit),
            per_address=part(self.shares.per_address, self.limit),
            gave_way=self.ended,
        )

    def take(
        self, key: str, kind: Kind, sender: Sender | None, *, resumable: bool = False
    ) -> Receiving:
        """Give `key` a slot, and see that enough others are free."""
        pace = self._bandwidth.pace(key, kind, sender)
        receiving = Receiving(self.shares.least_rate, self._clock, pace)
        self._holders[key] = Holder(
            kind, frozenset(self.parties(kind, sender)), receiving, resumable
        )
        everybody = self._who()
        going = sum(each.told for each in everybody)
        while self.used - going > SCARCE * self.limit and self._end_idlest(everybody):
            going += 1
        return receiving

    def parties(self, kind: Kind, sender: Sender | None) -> tuple[tuple[str, str], ...]:
        """Whose shares such an upload counts against."""
        return tuple(each.party for each in self._shares(kind, sender))

    def give_back(self, key: str) -> None:
        """`key` has no slot any more."""
        self._said.pop(key, None)
        holder = self._holders.pop(key, None)
        if holder is not None:
            holder.receiving.close()

    def hand_back(self) -> int:
        """Tell those whose clients can go on elsewhere to give way; returns how many are told."""
        found = [
            each.receiving
            for each in self._holders.values()
            if each.resumable and not each.receiving.told
        ]
        for receiving in found:
            receiving.give_way(handed_back=True)
        return len(found)

    def take_over(self, key: str) -> bool:
        """Ask another process to end its request at a resumable upload, for a newer one has come.

        Whether there is one.
        """
        other = self.elsewhere.find(key)
        if other is None or not other.resumable:
            return False
        self.asks[key] = True
        return True

    def heed(self) -> int:
        """Do as other processes ask; returns how many give way for that."""
        count = 0
        for key, takes_over in self.elsewhere.asks.items():
            holder = self._holders.get(key)
            if holder is None or holder.receiving.told:
                continue
            takes_over = takes_over and holder.resumable
            if takes_over or self._is_idle(holder.receiving):
                holder.receiving.give_way(handed_back=takes_over)
                count += 1
        return count

    def standing(self, key: str) -> tuple[float | None, bool]:
        """What other processes are to know of a key: `idle_since` and `gives_way` of its entry."""
        holder = self._holders.get(key)
        if holder is None:
            return None, False
        receiving = holder.receiving
        since = self._clock() - receiving.idle_for() if self._is_idle(receiving) else None
        self._said[key] = since is not None, receiving.told
        return since, receiving.told

    def changed(self) -> tuple[str, ...]:
        """The keys of which they are to know something else by now."""
        return tuple(
            key
            for key, each in self._holders.items()
            if self._said.get(key) != (self._is_idle(each.receiving), each.receiving.told)
        )

    def taken(self, kind: Kind, sender: Sender | None) -> Taken | None:
        """Why such an upload gets no slot; None when it does."""
        return next(self._reasons(kind, sender), None)

    def make_way(self, taken: Taken) -> bool:
        """Whether a slot will be free in a moment, for one that is in the way is idle."""
        if any(each.told for each in taken.holders):
            return True
        return self._end_idlest(taken.holders)

    def _end_idlest(self, holders: Iterable[GivesWay]) -> bool:
        waiting = [each for each in holders if not each.told]
        idlest = max(waiting, key=lambda each: each.idle_for(), default=None)
        if idlest is None or not self._is_idle(idlest):
            return False
        idlest.give_way()
        self.ended += 1
        return True

    def _is_idle(self, holder: GivesWay) -> bool:
        return holder.idle_for() >= self.shares.idle_after

    def _who(
        self, kind: Kind | None = None, party: tuple[str, str] | None = None
    ) -> tuple[GivesWay, ...]:
        """Those with a slot, of all processes: only of a kind, or a party, where one is said."""

        def counts(each: Holder | Entry) -> bool:
            return kind in (None, each.kind) and (party is None or party in each.parties)

        here = (each.receiving for each in self._holders.values() if counts(each))
        there = (each for each in self.elsewhere.with_slots if counts(each))
        return (*here, *(Away(each, self.asks, self._clock) for each in there))

    def _reasons(self, kind: Kind, sender: Sender | None) -> Iterator[Taken]:
        for share in self._shares(kind, sender):
            own = self._who(party=share.party)
            if len(own) >= share.most:
                yield _beyond(share, own)
        if self.used >= self.limit:
            yield _taken(f"all {self.limit} upload slots are in use: try again", self._who())
        if kind == "upload":
            return
        # A quarter of the slots, one at least, is the most for copies, so that uploads go on. As
        # many are kept from uploads that wait for their copy: two nodes whose slots were all taken
        # by such ones would wait for each other.
        quarter = max(1, self.limit // 4)
        most = quarter if kind == "copy" else max(1, self.limit - quarter)
        alike = self._who(kind)
        if len(alike) >= most:
            what = "copies" if kind == "copy" else "uploads that wait for their copy"
            yield _taken(f"all {most} slots for {what} are in use: try again", alike)

    def _shares(self, kind: Kind, sender: Sender | None) -> Iterable[Share]:
        """Copies have a share of their own: who sends them holds a node's key, not a token."""
        return () if sender is None or kind == "copy" else self.shares.of(sender, self.limit)


def _beyond(share: Share, own: tuple[GivesWay, ...]) -> Taken:
    detail = (
        f"{share.words} has {len(own)} uploads under way, and {share.most} at once is the most it "
        "may have: try again when one has ended"
    )
    return Taken(ProblemError("too-many-uploads", detail, RETRY_AFTER), own)


def _taken(detail: str, holders: tuple[GivesWay, ...]) -> Taken:
    return Taken(ProblemError("no-slot", detail), holders)
