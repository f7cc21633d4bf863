"""All senders together stay within the agreed bytes per second."""

from __future__ import annotations

from agent.host.throttle import Pace


def test_without_a_bound_nobody_waits() -> None:
    assert Pace(None).take(10**12) == 0.0


def test_who_comes_too_early_waits_for_those_before() -> None:
    now = 100.0
    pace = Pace(1000, clock=lambda: now)
    assert [pace.take(500) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_idle_time_is_not_saved_up() -> None:
    now = 100.0
    pace = Pace(1000, clock=lambda: now)
    pace.take(1000)
    now = 200.0
    assert [pace.take(1000), pace.take(1000)] == [0.0, 1.0]
