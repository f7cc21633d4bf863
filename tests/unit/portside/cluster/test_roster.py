"""The roster: who is in it, and that its version rises exactly when it says something new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from portside.cluster.file import Cluster, parse
from portside.cluster.roster import build, next_version, renew
from portside.tokens import SigningKey
from portside.wire.keys import PublicKey

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = {node_id: SigningKey.generate(node_id).public() for node_id in ("s01", "s02", "s03")}


def cluster(nodes: str = "s01: {region: hel, weight: 3, tier: warm}, s02: {}, c01: {}") -> Cluster:
    return parse(f"name: a\ndomain: a.b\nreplication: {{factor: 2}}\nnodes: {{{nodes}}}")


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


def test_a_node_without_a_key_is_left_out() -> None:
    keys: dict[str, PublicKey] = {"s02": KEYS["s02"]}
    assert [node.node_id for node in build(cluster(), keys).nodes] == ["s02"]


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
