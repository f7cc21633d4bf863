"""Copies are spread as weights say, and every node works out the same places."""

from __future__ import annotations

import secrets
from collections import Counter
from typing import Any

import pytest

from agent.cluster.rendezvous import can_be_replicated, ranked, targets
from portside.tokens import SigningKey
from portside.wire.heartbeat import NodeState, Roster, RosterNode
from tests.support.minting import upload_claims

_KEY = SigningKey.generate("any").public()


def _node(node_id: str, weight: int = 1, state: NodeState = "active") -> RosterNode:
    url = f"https://{node_id}.example.net"
    return RosterNode(
        node_id=node_id,
        public_base_url=url,
        upload_api_url=f"{url}/api/internal/upload",
        weight=weight,
        state=state,
        key=_KEY,
    )


NODES = tuple(_node(f"s0{number}") for number in range(1, 6))


def _claims(**changed: Any) -> Any:
    return upload_claims("lab", "s01", {"namespace": "isos", **changed})


def _roster(*nodes: RosterNode, **changed: Any) -> Roster:
    return Roster(cluster="lab", nodes=nodes or NODES, **changed)


def test_the_order_is_the_same_whoever_asks() -> None:
    for _ in range(20):
        file_id = secrets.token_hex(16)
        assert ranked(file_id, NODES) == ranked(file_id, NODES[::-1])


def test_a_node_that_goes_moves_only_its_own_files() -> None:
    for _ in range(200):
        file_id = secrets.token_hex(16)
        before = ranked(file_id, NODES)
        assert ranked(file_id, NODES[:-1]) == [node for node in before if node != NODES[-1]]


def test_files_spread_by_weight_and_not_onto_a_node_of_weight_0() -> None:
    nodes = [_node("light"), _node("heavy", weight=3), _node("full", weight=0)]
    first = Counter(ranked(f"{number:032x}", nodes)[0].node_id for number in range(4000))
    assert set(first) == {"light", "heavy"}
    assert first["heavy"] / first["light"] == pytest.approx(3, rel=0.2)


def test_the_tokens_replicas_come_first_and_never_the_node_itself() -> None:
    claims = _claims(replicas=("s03", "s01", "s09", "s03"))
    for roster in (_roster(factor=3), _roster(factor=3, control_url="https://control")):
        assert targets(claims, "s01", roster) == ("s03", "s09")


def test_without_replicas_the_factor_decides_unless_a_control_plane_does() -> None:
    claims = _claims()
    assert targets(claims, "s01", _roster(factor=1)) == ()
    assert targets(claims, "s01", _roster(factor=3, control_url="https://control")) == ()
    others = [node for node in NODES if node.node_id != "s01"]
    best = ranked(claims.file_id, others)
    assert targets(claims, "s01", _roster(factor=3)) == (best[0].node_id, best[1].node_id)
    # More copies than nodes: as many as there are.
    assert len(targets(claims, "s01", _roster(factor=16))) == 4


def test_nodes_that_are_not_active_get_nothing_unnamed() -> None:
    states: tuple[NodeState, ...] = ("readonly", "draining", "down", "retired")
    nodes = [_node("s01"), *(_node(state, state=state) for state in states)]
    assert targets(_claims(), "s01", _roster(*nodes, factor=3)) == ()


@pytest.mark.parametrize(
    ("state", "possible"),
    [("active", True), ("readonly", True), ("draining", True), ("down", False), ("retired", False)],
)
def test_a_second_copy_is_possible_where_a_target_is_up(state: NodeState, possible: bool) -> None:
    claims = _claims(replicas=("s02",), ack="replicated")
    roster = _roster(_node("s01"), _node("s02", state=state))
    assert can_be_replicated(claims, "s01", roster) == possible
    assert not can_be_replicated(claims, "s02", roster)
