"""When a heartbeat is sent: decisions without a network."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.heartbeat.sender import LONGEST, SHORTEST, bounded, pause

CHANCES = st.floats(0, 1)
PERIODS = st.floats(0.1, LONGEST)


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (0, SHORTEST),
        (-5, SHORTEST),
        (30, 30),
        (1e9, LONGEST),
        (float("nan"), 15),
        (float("inf"), 15),
    ],
)
def test_the_control_plane_can_not_ask_for_any_pause(asked: float, granted: float) -> None:
    assert bounded(asked, every=15) == granted


def test_a_nodes_own_period_is_always_granted() -> None:
    assert bounded(0.2, every=0.2) == 0.2


@given(st.integers(0, 10_000), PERIODS, CHANCES)
def test_a_pause_is_never_longer_than_the_period(missed: int, period: float, chance: float) -> None:
    assert 0 < pause(missed, period, chance) <= period


@given(st.integers(1, 50), PERIODS, CHANCES)
def test_pauses_grow_while_nothing_answers(missed: int, period: float, chance: float) -> None:
    assert pause(missed, period, chance) <= pause(missed + 1, period, chance)


def test_nodes_that_were_cut_off_together_come_back_apart() -> None:
    assert pause(9, 15, 0.0) == 7.5
    assert pause(9, 15, 1.0) == 15
