"""Each owner's uploads in a minute: bounded, told when to come again, forgotten when idle."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.problems import ProblemError
from agent.uploads.rate_limit import UploadRate

SECOND = 10**9


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_of(error: pytest.ExceptionInfo[ProblemError]) -> int:
    return int(error.value.headers["Retry-After"])


def test_a_minutes_uploads_may_begin_at_once_and_no_more(clock: Clock) -> None:
    rate = UploadRate(30, clock)
    for _ in range(30):
        rate.take("a")
    with pytest.raises(ProblemError) as refused:
        rate.take("a")
    assert (refused.value.slug, refused.value.status) == ("rate-limited", 429)
    assert wait_of(refused) == 2


@pytest.mark.parametrize("per_minute", [1, 7, 30, 600, 100_000])
def test_who_waits_as_told_is_let_in(clock: Clock, per_minute: int) -> None:
    rate = UploadRate(per_minute, clock)
    for _ in range(per_minute):
        rate.take("a")
    for _ in range(3):
        with pytest.raises(ProblemError) as refused:
            for _ in range(per_minute):
                rate.take("a")
        clock.advance(wait_of(refused))
        rate.take("a")


def test_owners_dont_slow_each_other_down(clock: Clock) -> None:
    rate = UploadRate(1, clock)
    rate.take("a")
    rate.take("b")
    with pytest.raises(ProblemError):
        rate.take("a")


def test_asking_costs_nothing(clock: Clock) -> None:
    rate = UploadRate(1, clock)
    for _ in range(100):
        rate.check("a")
    rate.take("a")
    for _ in range(100):
        with pytest.raises(ProblemError):
            rate.check("a")
    clock.advance(60)
    rate.take("a")


def test_idle_owners_are_forgotten(clock: Clock) -> None:
    rate = UploadRate(10, clock)
    for minute in range(5):
        for owner in range(1000):
            rate.take(f"{minute}-{owner}")
        clock.advance(61)
    rate.take("one more")
    assert len(rate) <= 1001


@given(st.integers(1, 50), st.lists(st.floats(0, 30), max_size=200))
def test_no_minute_sees_more_than_two_minutes_uploads(per_minute: int, pauses: list[float]) -> None:
    """A bucket may be full at the beginning and is filled once a minute: never more than that."""
    clock = Clock()
    rate = UploadRate(per_minute, clock)
    begun: list[int] = []
    for pause in pauses:
        clock.advance(pause)
        try:
            rate.take("a")
        except ProblemError:
            continue
        begun.append(clock.now)
        assert sum(at > clock.now - 60 * SECOND for at in begun) <= 2 * per_minute


def test_threads_share_one_count(clock: Clock) -> None:
    rate = UploadRate(100, clock)
    refused: list[str] = []

    def hurry() -> None:
        for _ in range(50):
            try:
                rate.take("a")
            except ProblemError as problem:
                refused.append(problem.slug)

    threads = [threading.Thread(target=hurry) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 100
