"""Everybody together stays within the agreed bytes per second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.host.throttle import Throttle
from portside.quantities import MIB


def test_without_a_bound_nobody_waits() -> None:
    assert Throttle(None).take(10**12) == 0.0


def test_who_comes_too_early_waits_for_those_before() -> None:
    now = 100.0
    throttle = Throttle(1000, clock=lambda: now)
    assert [throttle.take(500) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_idle_time_is_not_saved_up() -> None:
    now = 100.0
    throttle = Throttle(1000, clock=lambda: now)
    throttle.take(1000)
    now = 200.0
    assert [throttle.take(1000), throttle.take(1000)] == [0.0, 1.0]


@given(
    rate=st.integers(1, 10**9),
    reads=st.lists(st.tuples(st.integers(1, 4 * MIB), st.floats(0, 100)), min_size=1, max_size=50),
)
def test_no_second_sees_more_than_the_rate(rate: int, reads: list[tuple[int, float]]) -> None:
    clock, begun = 0.0, []
    throttle = Throttle(rate, clock=lambda: clock)
    for size, idle in reads:
        clock += idle
        clock += throttle.take(size)
        begun.append((clock, size))
    # From any read's beginning to any later one's: all that was read before that one.
    for first, (start, _) in enumerate(begun):
        total = 0
        for at, size in begun[first:]:
            assert total <= rate * (at - start) * 1.000001 + 0.01
            total += size
