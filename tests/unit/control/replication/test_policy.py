"""Which copies are made and which may go: the invariant under whatever happens to nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from control.db.models import CopyState
from control.replication.policy import (
    LARGE,
    LEAST_LOAD,
    CopyOnNode,
    Keeper,
    NodeLoads,
    Standing,
    load_of,
)
from portside.wire.heartbeat import NodeState

NODES = ("a", "b", "c", "d", "e")

keepers = st.fixed_dictionaries(
    {
        node_id: st.builds(
            Keeper,
            node_id=st.just(node_id),
            state=st.sampled_from(("active", "readonly", "draining", "down", "retired")),
            given_up=st.booleans(),
            used=st.floats(0, 1),
        )
        for node_id in NODES
    }
)
copies_of_a_file = st.lists(
    st.builds(
        CopyOnNode,
        node_id=st.sampled_from(NODES),
        state=st.sampled_from(("present", "copying", "lost", "deleting", "gone")),
        proven=st.booleans(),
    ),
    unique_by=lambda each: each.node_id,
)


def cluster(**states: NodeState) -> dict[str, Keeper]:
    """Nodes in these states, every other one active."""
    return {each: Keeper(each, states.get(each, "active")) for each in NODES}


def present(*node_ids: str) -> list[CopyOnNode]:
    return [CopyOnNode(each, "present") for each in node_ids]


@given(copies_of_a_file, keepers, st.integers(1, 4))
def test_what_goes_leaves_as_many_good_copies_as_the_factor(
    copies: list[CopyOnNode], nodes: dict[str, Keeper], factor: int
) -> None:
    standing = Standing(copies, nodes, factor)
    going = standing.surplus
    left = [each for each in standing.good if each not in going]
    assert len(set(going)) == len(going)
    assert set(going) <= set(standing.good)
    if going:
        kept = {each.node_id: each for each in copies if each.node_id in left}
        sure = [
            each
            for each in kept.values()
            if each.proven and nodes[each.node_id].state != "draining"
        ]
        assert len(sure) >= factor


@given(copies_of_a_file, keepers, st.integers(1, 4))
def test_nothing_is_made_and_removed_at_once(
    copies: list[CopyOnNode], nodes: dict[str, Keeper], factor: int
) -> None:
    standing = Standing(copies, nodes, factor)
    assert not (standing.wanted and standing.surplus)


@given(copies_of_a_file, keepers, st.integers(1, 4))
def test_what_may_go_alone_is_good_to_go(
    copies: list[CopyOnNode], nodes: dict[str, Keeper], factor: int
) -> None:
    standing = Standing(copies, nodes, factor)
    for node_id in standing.good:
        if standing.may_go(node_id):
            assert len([each for each in standing.good if each != node_id]) >= factor


def test_a_node_that_is_down_for_a_short_time_causes_no_copying() -> None:
    assert Standing(present("a", "b"), cluster(b="down"), 2).wanted == 0


def test_a_node_that_is_down_for_long_is_copied_around() -> None:
    nodes = cluster() | {"b": Keeper("b", "down", given_up=True)}
    standing = Standing(present("a", "b"), nodes, 2)
    assert standing.wanted == 1
    assert standing.good == ["a"]


def test_a_copy_under_way_isnt_ordered_again() -> None:
    nodes = cluster() | {"b": Keeper("b", "down", given_up=True)}
    assert Standing([*present("a", "b"), CopyOnNode("c", "copying")], nodes, 2).wanted == 0


def test_a_copy_under_way_to_a_node_that_drains_doesnt_count() -> None:
    copies = [*present("a"), CopyOnNode("c", "copying")]
    assert Standing(copies, cluster(c="draining"), 2).wanted == 1


def test_a_draining_nodes_copy_is_good_and_is_replaced_before_it_goes() -> None:
    before = Standing(present("a", "b"), cluster(a="draining"), 2)
    assert (before.good, before.wanted, before.surplus) == (["a", "b"], 1, [])
    after = Standing(present("a", "b", "c"), cluster(a="draining"), 2)
    assert (after.wanted, after.surplus) == (0, ["a"])


def test_two_draining_nodes_are_both_replaced() -> None:
    nodes = cluster(a="draining", b="draining")
    assert Standing(present("a", "b"), nodes, 2).wanted == 2
    assert Standing(present("a", "b", "c"), nodes, 2).surplus == []
    assert Standing(present("a", "b", "c", "d"), nodes, 2).surplus == ["a", "b"]


def test_a_node_that_came_back_gives_its_copy_up_until_it_is_proven() -> None:
    copies = [CopyOnNode("a", "present", proven=False), *present("b", "c")]
    assert Standing(copies, cluster(), 2).surplus == ["a"]


def test_nothing_goes_in_favour_of_a_copy_that_isnt_proven() -> None:
    copies = [CopyOnNode("a", "present", proven=False), *present("b")]
    assert Standing(copies, cluster(b="draining"), 1).surplus == []


def test_surplus_goes_from_the_fullest_node() -> None:
    used = {"a": 0.1, "b": 0.9, "c": 0.5}
    nodes = {each: Keeper(each, "active", used=used[each]) for each in used}
    assert Standing(present("a", "b", "c"), nodes, 2).surplus == ["b"]


@pytest.mark.parametrize("state", ["lost", "deleting", "copying", "gone"])
def test_only_what_is_present_lets_another_go(state: CopyState) -> None:
    assert Standing([*present("a", "b"), CopyOnNode("c", state)], cluster(), 2).surplus == []


def test_no_node_is_asked_for_more_than_the_limit() -> None:
    loads = NodeLoads(limit=2, sending={"a": 1}, receiving={"c": 1})
    assert loads.source(["a", "b"]) == "b"
    loads.take("b", "c", LARGE)
    assert loads.full_targets() == {"c"}
    loads.take("a", "d", LARGE)
    loads.take("b", "d", LARGE)
    assert loads.source(["a", "b"]) is None


@pytest.mark.parametrize(
    ("size", "counts"),
    [
        (0, LEAST_LOAD),
        (LARGE // 8, LEAST_LOAD),
        (LARGE // 2, 0.5),
        (LARGE, 1.0),
        (100 * LARGE, 1.0),
    ],
)
def test_small_files_count_less_so_that_more_are_under_way(size: int, counts: float) -> None:
    assert load_of(size) == counts
    loads = NodeLoads(limit=2, sending={}, receiving={})
    ordered = 0
    while loads.source(["a"]) == "a":
        loads.take("a", "b", size)
        ordered += 1
    assert ordered == 2 / counts


class AFile(RuleBasedStateMachine):
    """One file through copies made, removed, nodes that go, come back, drain and are lost."""

    FACTOR = 2
    changes = Bundle("changes")

    @initialize()
    def two_copies(self) -> None:
        self.nodes = cluster()
        self.copies: dict[str, CopyOnNode] = {
            each: CopyOnNode(each, "present") for each in ("a", "b")
        }
        self.ordered_below = False

    @property
    def standing(self) -> Standing:
        return Standing(self.copies.values(), self.nodes, self.FACTOR)

    @rule(node_id=st.sampled_from(NODES), state=st.sampled_from(("active", "draining")))
    def operator_sets_a_state(self, node_id: str, state: NodeState) -> None:
        self.nodes[node_id] = Keeper(node_id, state)

    @rule(node_id=st.sampled_from(NODES), long=st.booleans())
    def goes_down(self, node_id: str, long: bool) -> None:
        self.nodes[node_id] = Keeper(node_id, "down", given_up=long)
        copy = self.copies.get(node_id)
        if copy is not None and copy.state == "present":
            self.copies[node_id] = CopyOnNode(node_id, "present", proven=False)

    @rule(node_id=st.sampled_from(NODES))
    def shows_what_it_has(self, node_id: str) -> None:
        copy = self.copies.get(node_id)
        if self.nodes[node_id].reachable and copy is not None and copy.state == "present":
            self.copies[node_id] = CopyOnNode(node_id, "present")

    @rule()
    def repair_round(self) -> None:
        for _ in range(self.standing.wanted):
            free = [n for n in NODES if n not in self.copies and self.nodes[n].state == "active"]
            if free and self.standing.good:
                self.copies[free[0]] = CopyOnNode(free[0], "copying")

    @rule(fails=st.booleans())
    def a_copy_ends(self, fails: bool) -> None:
        coming = next((c.node_id for c in self.copies.values() if c.state == "copying"), None)
        if coming is not None and self.nodes[coming].reachable:
            del self.copies[coming]
            if not fails:
                self.copies[coming] = CopyOnNode(coming, "present")

    @rule()
    def surplus_round(self) -> None:
        for node_id in self.standing.surplus:
            self.copies[node_id] = CopyOnNode(node_id, "deleting")
            self.ordered_below |= len(self.standing.good) < self.FACTOR

    @rule()
    def a_removal_ends(self) -> None:
        going = next((c.node_id for c in self.copies.values() if c.state == "deleting"), None)
        if going is not None and self.nodes[going].reachable:
            del self.copies[going]

    @invariant()
    def no_order_brought_it_below_its_factor(self) -> None:
        assert not self.ordered_below

    @invariant()
    def a_copy_is_left_that_was_never_ordered_away(self) -> None:
        assert any(each.state == "present" for each in self.copies.values())


TestAFile = AFile.TestCase
