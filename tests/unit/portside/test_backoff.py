"""Pauses double up to the longest, and nobody waits less or more than its share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.backoff import Backoff, spread


def test_pauses_double_from_the_first_to_the_longest() -> None:
    backoff = Backoff(first=2, longest=60)
    assert [backoff.most(failures) for failures in range(1, 8)] == [2, 4, 8, 16, 32, 60, 60]


@given(failures=st.integers(1, 10**9), chance=st.floats(0, 1))
def test_a_pause_is_a_share_of_the_doubled_one(failures: int, chance: float) -> None:
    backoff = Backoff(first=1, longest=300, spread=(0.5, 1.0))
    most = backoff.most(failures)
    assert most / 2 <= backoff.pause(failures, chance) <= most <= 300


def test_those_that_failed_together_do_not_come_back_together() -> None:
    backoff = Backoff(first=10, longest=10)
    assert len({backoff.pause(1) for _ in range(20)}) > 1


def test_a_share_may_be_more_than_what_was_asked_for() -> None:
    assert spread(10, (1.0, 1.5), 0.0) == 10
    assert spread(10, (1.0, 1.5), 1.0) == pytest.approx(15)
