"""Where a file's copies go when nobody else decides: rendezvous hashing over the roster. Pure.

Every node gets a score for the file, from a hash of both, and the highest win (Thaler and
Ravishankar, 1998; weighted as in Schindelhauer and Schomaker, 2005). Each node works out the same
order on its own, files spread as the weights say, and a node that comes or goes moves only the
files that are its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from portside.wire.claims import UploadClaims
from portside.wire.heartbeat import NodeState, Roster, RosterNode

_TAKES_COPIES: tuple[NodeState, ...] = ("active", "readonly", "draining")
"""States in which a node that was named takes a copy now; one that is down may come back."""


def ranked(file_id: str, nodes: Sequence[RosterNode]) -> list[RosterNode]:
    """The nodes by their score for a file, the best first; those of weight 0 are left out."""
    weighted = [node for node in nodes if node.weight > 0]
    return sorted(weighted, key=lambda node: (-_score(file_id, node), node.node_id))


def _score(file_id: str, node: RosterNode) -> float:
    digest = hashlib.sha256(f"{file_id}\n{node.node_id}".encode()).digest()
    # Never 0 and never 1: between them the logarithm is finite and not 0.
    chance = (int.from_bytes(digest[:6]) + 0.5) / 2**48
    return -node.weight / math.log(chance)


def targets(claims: UploadClaims, node_id: str, roster: Roster) -> tuple[str, ...]:
    """The nodes that get a copy of an upload that node `node_id` takes.

    Those that its token names. Without any, a control plane orders the copies; where there is none,
    as many active nodes as the cluster's factor wants beside this one.
    """
    if claims.replicas:
        return tuple(dict.fromkeys(each for each in claims.replicas if each != node_id))
    if roster.control_url is not None or roster.factor <= 1:
        return ()
    others = [node for node in roster.nodes if node.node_id != node_id and node.state == "active"]
    best = ranked(claims.file_id, others)[: roster.factor - 1]
    return tuple(node.node_id for node in best)


def can_be_replicated(claims: UploadClaims, node_id: str, roster: Roster) -> bool:
    """Whether any of the nodes that would get a copy can take one now, as far as is known."""
    found = (roster.find(each) for each in targets(claims, node_id, roster))
    return any(node is not None and node.state in _TAKES_COPIES for node in found)
