"""Placement: only where there is room, the best first, evenly among those that are alike."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from control.cluster.placement import Place, Ranking, choose

_REGIONS = st.sampled_from([None, "hel", "fra"])

PLACES = st.lists(
    st.builds(
        Place,
        pool_id=st.uuids().map(str),
        node_id=st.sampled_from(["s01", "s02", "s03", "s04"]),
        tier=st.sampled_from(["hot", "warm", "cold"]),
        priority=st.integers(-2, 2),
        region=_REGIONS,
        weight=st.integers(0, 3),
        is_upload_target=st.booleans(),
        room=st.integers(-10, 100),
        limit=st.just(100),
        used=st.floats(0, 1),
        opened=st.integers(0, 5),
    ),
    max_size=12,
)


def place(name: str, **changed: object) -> Place:
    facts = {
        "pool_id": name,
        "node_id": name,
        "tier": "hot",
        "priority": 0,
        "region": None,
        "weight": 1,
        "is_upload_target": True,
        "room": 100,
        "limit": 100,
        "used": 0.5,
        "opened": 0,
    }
    return Place(**{**facts, **changed})  # type: ignore[arg-type]


def first(*places: Place, region: str | None = None) -> str:
    return choose(places, 10, Random(1), region=region)[0].pool_id  # noqa: S311


@given(PLACES, st.integers(0, 100), st.integers(1, 5), _REGIONS, st.booleans(), st.integers())
def test_what_is_chosen_has_room_and_is_on_as_many_nodes(
    places: list[Place], size: int, count: int, region: str | None, uploads: bool, seed: int
) -> None:
    chosen = choose(
        places,
        size,
        Random(seed),  # noqa: S311
        count=count,
        region=region,
        without=("s04",),
        for_uploads=uploads,
    )
    fitting = {
        each.node_id
        for each in places
        if each.room >= size
        and each.weight
        and each.node_id != "s04"
        and (each.is_upload_target or not uploads)
    }
    nodes = [each.node_id for each in chosen]
    assert len(nodes) == len(set(nodes)) == min(count, len(fitting))
    assert set(nodes) <= fitting
    for each in chosen:
        assert each.room >= size
        assert each.weight > 0
        assert each.is_upload_target or not uploads


@given(PLACES, st.integers())
def test_nothing_better_is_left_out(places: list[Place], seed: int) -> None:
    chosen = choose(places, 10, Random(seed))  # noqa: S311
    order = ["hot", "warm", "cold"]
    fitting = [each for each in places if each.room >= 10 and each.weight and each.is_upload_target]
    assert bool(chosen) == bool(fitting)
    if chosen:
        best = min((order.index(each.tier), -each.priority) for each in fitting)
        assert (order.index(chosen[0].tier), -chosen[0].priority) == best


def test_tier_comes_before_priority_before_region_before_use() -> None:
    assert first(place("a", tier="warm", priority=9), place("b", used=0.9)) == "b"
    assert first(place("a", region="hel"), place("b", priority=1), region="hel") == "b"
    assert first(place("a", region="hel", used=0.9), place("b", used=0.1), region="hel") == "a"
    assert first(place("a", used=0.9), place("b", used=0.1)) == "b"
    assert first(place("a", opened=2), place("b", opened=1)) == "b"


def test_a_region_is_a_preference_and_no_condition() -> None:
    assert first(place("a", region="fra"), region="hel") == "a"


def test_a_weight_counts_for_fullness_and_for_open_uploads() -> None:
    assert first(place("a", used=0.6, weight=2), place("b", used=0.4)) == "a"
    places = [place("a", weight=3, used=0), place("b", used=0)]
    taken: Counter[str] = Counter()
    for _ in range(40):
        chosen = choose(places, 1, Random(1))[0]  # noqa: S311
        chosen.promise(1)
        taken[chosen.pool_id] += 1
    assert taken == {"a": 30, "b": 10}


def test_a_promise_is_remembered_at_once() -> None:
    only = place("a", room=25)
    for _ in range(2):
        choose([only], 10, Random(1))[0].promise(10)  # noqa: S311
    assert choose([only], 10, Random(1)) == []  # noqa: S311


@given(
    PLACES,
    st.lists(st.tuples(st.integers(0, 40), _REGIONS, st.booleans()), max_size=20),
    st.integers(),
)
def test_a_ranking_stays_right_while_promises_change_it(
    places: list[Place], wishes: list[tuple[int, str | None, bool]], seed: int
) -> None:
    random = Random(seed)  # noqa: S311
    ranking = Ranking(places)
    for size, region, for_uploads in wishes:
        kept = ranking.choose(size, random, region=region, for_uploads=for_uploads)
        anew = choose(places, size, random, region=region, for_uploads=for_uploads)
        assert [merits(each, region) for each in kept] == [merits(each, region) for each in anew]
        for each in kept:
            each.promise(size)


def merits(place: Place, region: str | None) -> tuple[object, ...]:
    """What a place is chosen by: two that have the same are alike."""
    return (
        place.tier,
        place.priority,
        region is not None and place.region == region,
        int(place.used * 50) / place.weight,
        place.opened / place.weight,
    )


def test_those_that_are_alike_take_turns_also_when_nothing_is_promised() -> None:
    ranking, random = Ranking([place("a"), place("b"), place("c")]), Random(1)  # noqa: S311
    taken = Counter(ranking.choose(1, random)[0].pool_id for _ in range(300))
    assert min(taken.values()) > 60
    assert len(taken) == 3
