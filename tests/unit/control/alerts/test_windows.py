"""Counters rise, begin anew, and are missing; disks fill and empty."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.alerts import windows
from control.alerts.readings import Sample

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def samples(*counts: int | None, every: int = 300, free: int = 0) -> list[Sample]:
    """The last of them now."""
    begin = NOW - timedelta(seconds=every * (len(counts) - 1))
    return [
        Sample(begin + timedelta(seconds=every * at), free, 0, committed=count)
        for at, count in enumerate(counts)
    ]


def committed(sample: Sample) -> int | None:
    return sample.committed


@given(st.lists(st.lists(st.integers(0, 1000), min_size=1), min_size=1))
def test_a_rise_is_what_was_counted_from_one_look_to_the_next(runs: list[list[int]]) -> None:
    """Whatever the agent was started: each run's increments, but what came before the first look
    of all."""
    counts: list[int] = []
    seen = 0
    for run in runs:
        total = 0
        for step in run:
            total += step
            # A run that has counted further than the one before it can't be told from it.
            if counts and total >= counts[-1]:
                seen += total - counts[-1]
            elif counts:
                seen += total
            counts.append(total)
    assert windows.rise(samples(*counts), committed) == seen


def test_an_agent_that_starts_anew_takes_nothing_away() -> None:
    assert windows.rise(samples(100, 110, 3, 5), committed) == 10 + 3 + 2


def test_what_was_not_told_is_left_out() -> None:
    assert windows.rise(samples(None, 5, None, 9), committed) == 4
    assert windows.rise(samples(None, None), committed) == 0
    assert windows.rise([], committed) == 0


def test_a_window_begins_with_the_last_look_before_it() -> None:
    seen = windows.since(samples(0, 1, 2, 3, 4), NOW - timedelta(seconds=400))
    assert [each.committed for each in seen] == [2, 3, 4]


def filled(*free: int, every: int = 3600) -> list[Sample]:
    begin = NOW - timedelta(seconds=every * (len(free) - 1))
    return [Sample(begin + timedelta(seconds=every * at), each, 0) for at, each in enumerate(free)]


def test_a_disk_that_fills_is_full_when_its_room_is_gone() -> None:
    falling = filled(*(700 - 10 * hour for hour in range(7)))
    assert windows.seconds_until_full(falling, 600, 6 * 3600, NOW) == pytest.approx(60 * 3600)
    assert windows.seconds_until_full(falling, -5, 6 * 3600, NOW) == 0


@pytest.mark.parametrize(
    "seen", [filled(), filled(5), filled(5, 5, 5, 5, 5, 5, 5), filled(1, 2, 3, 4, 5, 6, 7)]
)
def test_one_that_does_not_fill_has_no_such_time(seen: list[Sample]) -> None:
    assert windows.seconds_until_full(seen, 100, 6 * 3600, NOW) is None


def test_nothing_is_foretold_from_a_short_look() -> None:
    assert windows.seconds_until_full(filled(100, 50, 10), 10, 6 * 3600, NOW) is None
