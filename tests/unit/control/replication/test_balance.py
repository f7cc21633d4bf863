"""Balance between nodes: who gives, and when it is even enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from control.replication.balance import NodeUsage, fullest_over, improves


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(100, 200)), min_size=2, max_size=5),
    st.integers(1, 20),
)
def test_balancing_comes_to_an_end_within_the_band_or_of_what_fits(
    nodes: list[tuple[int, int]], size: int
) -> None:
    usages = {str(n): NodeUsage(str(n), used, room) for n, (used, room) in enumerate(nodes)}
    for _ in range(2000):
        now = list(usages.values())
        giver = fullest_over(now, 0.1)
        if giver is None:
            break
        taker = min(now, key=lambda each: each.share)
        if giver.used < size or not improves(now, giver.node_id, taker.node_id, size):
            break
        usages[giver.node_id] = NodeUsage(giver.node_id, giver.used - size, giver.capacity)
        usages[taker.node_id] = NodeUsage(taker.node_id, taker.used + size, taker.capacity)
    else:
        raise AssertionError("it goes on for ever")
    assert all(each.used <= each.capacity for each in usages.values())
