"""The roster: who is in it, and that its version rises exactly when it says something new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from portside.cluster.file import Cluster, parse
from portside.cluster.roster import build, merge, next_version, renew, without_key
from portside.tokens import SigningKey
from portside.wire.heartbeat import NodeState, Roster
from portside.wire.keys import PublicKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = {node_id: SigningKey.generate(node_id).public() for node_id in ("s01", "s02", "s03")}


def cluster(nodes: str = "s01: {region: hel, weight: 3, tier: warm}, s02: {}, c01: {}") -> Cluster:
    return parse(f"name: a\ndomain: a.b\nreplication: {{factor: 2}}\nnodes: {{{nodes}}}")


def roster(version: int, weight: int = 1, **states: NodeState) -> Roster:
    """A roster of s01 and s02 at this version: `weight` is s01's."""
    made = build(cluster(f"s01: {{weight: {weight}}}, s02: {{}}"), KEYS, version)
    nodes = (
        each.model_copy(update={"state": states.get(each.node_id, "active")}) for each in made.nodes
    )
    return made.model_copy(update={"nodes": tuple(nodes)})


# -- built from the cluster file -------------------------------------------------------------------


def test_it_has_what_the_cluster_file_says_of_storage_nodes() -> None:
    made = build(cluster(), KEYS, 7)
    assert (made.version, made.cluster, made.factor) == (7, "a", 2)
    assert made.control_url == "https://c01.a.b"
    assert [node.node_id for node in made.nodes] == ["s01", "s02"]
    s01 = made.find("s01")
    assert s01 is not None
    assert (s01.region, s01.weight, s01.tier, s01.state) == ("hel", 3, "warm", "active")
    assert s01.upload_api_url == "https://s01.a.b/api/internal/upload"
    assert s01.key == KEYS["s01"]


def test_a_node_without_a_key_is_left_out_and_named() -> None:
    keys: dict[str, PublicKey] = {"s02": KEYS["s02"]}
    assert [node.node_id for node in build(cluster(), keys).nodes] == ["s02"]
    assert without_key(cluster(), keys) == ("s01",)


# -- versions --------------------------------------------------------------------------------------


def test_a_second_deploy_of_the_same_keeps_the_first_ones_roster() -> None:
    first = renew(None, build(cluster(), KEYS), NOW)
    assert first.version == int(NOW.timestamp())
    assert renew(first, build(cluster(), KEYS), NOW + timedelta(days=1)) is first


def test_what_changed_has_a_higher_version_even_when_the_clock_was_set_back() -> None:
    first = renew(None, build(cluster(), KEYS), NOW)
    fewer = build(cluster("s02: {}, c01: {}, s03: {}"), KEYS)
    assert renew(first, fewer, NOW - timedelta(days=9)).version == first.version + 1


@given(st.integers(0, 2**40), st.datetimes(timezones=st.just(UTC), min_value=datetime(1970, 1, 2)))
def test_versions_strictly_rise(after: int, now: datetime) -> None:
    assert next_version(after, now) > after


# -- merging a deploy into what the control plane publishes ----------------------------------------


def test_states_are_the_control_planes_and_the_rest_the_deploys() -> None:
    published = roster(100, s01="draining")
    merged = merge(roster(200, weight=9), published, NOW)
    found = merged.find("s01")
    assert found is not None
    assert (found.state, found.weight) == ("draining", 9)
    assert merged.version > 200


def test_merging_an_old_deploy_again_publishes_nothing_new() -> None:
    published = roster(100, s01="draining")
    assert merge(roster(50), published, NOW) is published


def test_a_first_deploy_is_published_as_it_is() -> None:
    assert merge(roster(50), None, NOW) == roster(50)


@given(
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(1, 2),
    st.sampled_from(["active", "draining", "retired"]),
)
def test_a_merged_roster_reaches_every_node_and_merging_it_again_changes_nothing(
    deployed_version: int, published_version: int, weight: int, state: NodeState
) -> None:
    deployed, published = roster(deployed_version, weight), roster(published_version, s02=state)
    clock = datetime.fromtimestamp(2, UTC)
    merged = merge(deployed, published, clock)
    for known in (deployed, published):
        assert merged.version > known.version or merged.nodes == known.nodes
    assert merge(deployed, merged, clock) == merged
