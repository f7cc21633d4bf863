"""Which copies a file should have: decisions without a database.

The invariant: Portside never orders a copy away unless as many others as the factor asks for are
*good* without it. A good copy is present on a node that is neither down nor retired. A copy on a
draining node is good to read and to copy from, but it doesn't stay, so it keeps no other copy from
being made and lets none go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from control.db.models import CopyState
from portside.quantities import MIB
from portside.wire.heartbeat import NodeState

_REACHABLE: frozenset[NodeState] = frozenset({"active", "readonly", "draining"})
_STAYING: frozenset[NodeState] = frozenset({"active", "readonly", "down"})


@dataclass(frozen=True, slots=True)
class Keeper:
    """A node, as far as keeping files goes."""

    node_id: str
    state: NodeState
    given_up: bool = False
    """Down for longer than `repair_after`: its copies aren't waited for any more."""
    leaving: bool = False
    """A move takes files from here: of surplus copies, its own goes first."""
    used: float = 0.0
    """How full it is, from 0 to 1: surplus copies go from the fullest."""

    @property
    def reachable(self) -> bool:
        """Whether its copies can be read and copied from now."""
        return self.state in _REACHABLE

    @property
    def stays(self) -> bool:
        """Whether its copies count for the future. One that is down for a short time comes back:
        a flapping node causes no copying."""
        return self.state in _STAYING and not self.given_up


@dataclass(frozen=True, slots=True)
class CopyOnNode:
    """A file's copy on a node."""

    node_id: str
    state: CopyState
    proven: bool = True
    """False since its node was away and hasn't yet shown that it still has its files."""


class Standing:
    """How one file stands: its copies, among the nodes that there are."""

    def __init__(
        self, copies: Iterable[CopyOnNode], keepers: Mapping[str, Keeper], factor: int
    ) -> None:
        self._copies = tuple(each for each in copies if each.node_id in keepers)
        self._keepers = keepers
        self._factor = factor

    @property
    def good(self) -> list[str]:
        """The nodes that have a good copy: what the invariant counts."""
        return [each.node_id for each in self._present if self._keepers[each.node_id].reachable]

    @property
    def wanted(self) -> int:
        """How many copies have to be made: neither those that stay nor those under way suffice."""
        return max(0, self._factor - len(self._staying))

    def wanted_without(self, node_id: str) -> int:
        """The same, if the copy on this node were to go."""
        return max(0, self._factor - len([each for each in self._staying if each != node_id]))

    def may_go(self, node_id: str) -> bool:
        """Whether the copy on this node can be done without.

        Others, as many as the factor asks for, are good, stay and are known to be there.
        """
        return len([each for each in self._lasting if each != node_id]) >= self._factor

    @property
    def surplus(self) -> list[str]:
        """The nodes whose copies are to go, best first; each `may_go` when those before it went.

        Those that drain go first, then those of a move's source, then those that are doubtful,
        then those of the fullest nodes.
        """
        doubtful = {each.node_id for each in self._present if not each.proven}

        def order(node_id: str) -> tuple[bool, bool, bool, float, str]:
            keeper = self._keepers[node_id]
            sure = node_id not in doubtful
            return keeper.stays, not keeper.leaving, sure, -keeper.used, node_id

        going: list[str] = []
        for node_id in sorted(self.good, key=order):
            if len(set(self._lasting) - {*going, node_id}) >= self._factor:
                going.append(node_id)
        return going

    @property
    def _staying(self) -> list[str]:
        """The nodes that have a copy and keep it, or get one."""
        return [
            each.node_id
            for each in self._copies
            if each.state in ("present", "copying") and self._keepers[each.node_id].stays
        ]

    @property
    def _present(self) -> list[CopyOnNode]:
        return [each for each in self._copies if each.state == "present"]

    @property
    def _lasting(self) -> list[str]:
        """The nodes with a good copy that is proven and stays."""
        return [
            each.node_id
            for each in self._present
            if each.proven
            and self._keepers[each.node_id].reachable
            and self._keepers[each.node_id].stays
        ]


@dataclass(slots=True)
class NodeLoads:
    """How much more work nodes may be given: no storm hits one of them, whatever happened."""

    limit: float
    """The most that one node sends, and the most that one receives, at the same time: this many
    large files, or the more the smaller they are (`load_of`)."""
    sending: dict[str, float]
    receiving: dict[str, float]

    def source(self, candidates: Sequence[str]) -> str | None:
        """The candidate with the least to send; None when all have enough to do."""
        free = [each for each in candidates if self.sending.get(each, 0) < self.limit]
        return min(free, key=lambda each: (self.sending.get(each, 0), each), default=None)

    def full_targets(self) -> frozenset[str]:
        """The nodes that receive as much as they may."""
        return frozenset(n for n, count in self.receiving.items() if count >= self.limit)

    def take(self, source: str, target: str, size: int) -> None:
        """Note down a copy that was ordered."""
        self.sending[source] = self.sending.get(source, 0) + load_of(size)
        self.receiving[target] = self.receiving.get(target, 0) + load_of(size)


LARGE = 32 * MIB
"""Bytes from which on a file counts in full: a second or so on its way."""

LEAST_LOAD = 1 / 8
"""What the smallest file counts: orders and receipts take their time too."""


def load_of(size: int) -> float:
    """How much a copy of so many bytes counts among those under way, from LEAST_LOAD to 1.

    A node is given new copies every few seconds: with a fixed number of them, many small files
    would take days that one large file of as many bytes is copied in within minutes.
    """
    return min(1.0, max(LEAST_LOAD, size / LARGE))
