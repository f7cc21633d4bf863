"""How often somebody may do something, and how many are remembered."""

from __future__ import annotations

from portside.web.rate import Rate


def test_whoever_came_least_lately_is_forgotten_for_a_new_one() -> None:
    rate = Rate(1, clock=lambda: 0, most=2)
    assert [rate.take(key) for key in ("a", "b")] == [0, 0]
    assert rate.wait("a") == 60
    rate.take("c")
    assert (len(rate), rate.wait("a"), rate.wait("b")) == (2, 0, 60)
