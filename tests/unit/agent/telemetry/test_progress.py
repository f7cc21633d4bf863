"""Long uploads are seen in the log, and short ones don't fill it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from agent.telemetry.progress import ProgressLog, Transfer

MIB = 1 << 20


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def _events(lines: list[Any]) -> list[tuple[str, int | None]]:
    return [(line["event"], line["percent"]) for line in lines]


def test_an_upload_that_is_quick_is_only_begun(clock: Clock, lines: list[Any]) -> None:
    with ProgressLog(clock).follow(Transfer("u", "a.bin", "alice", 100 * MIB)) as moved:
        for size in range(1, 101):
            moved(size * MIB)
    assert lines == [
        {
            "event": "upload begun",
            "log_level": "info",
            "name": "a.bin",
            "owner": "alice",
            "bytes": 0,
            "total": 100 * MIB,
            "percent": 0,
        }
    ]


def test_a_long_one_has_a_line_for_each_tenth_and_never_many(
    clock: Clock, lines: list[Any]
) -> None:
    with ProgressLog(clock).follow(Transfer("u", "a.bin", "alice", 100 * MIB)) as moved:
        for size in range(1, 101):
            clock.now = 3.0 * size
            moved(size * MIB)
    told = [line for line in lines if line["event"] == "upload in progress"]
    assert [line["percent"] for line in told] == list(range(10, 101, 10))
    assert {line["bytes_per_second"] for line in told} == {round(MIB / 3)}


def test_one_that_crawls_or_whose_length_is_unknown_has_a_line_a_minute(
    clock: Clock, lines: list[Any]
) -> None:
    for total in (1 << 40, None):
        clock.now = 0.0
        lines.clear()
        with ProgressLog(clock).follow(Transfer("u", "a.bin", "alice", total)) as moved:
            for second in range(1, 301):
                clock.now = float(second)
                moved(second)
        assert [line["bytes"] for line in lines] == [0, 60, 120, 180, 240, 300]


def test_an_upload_in_many_requests_is_one(clock: Clock, lines: list[Any]) -> None:
    progress = ProgressLog(clock)
    for number in range(100):
        clock.now = 4.0 * number
        at = number * MIB
        with progress.follow(Transfer("u", "a.bin", "alice", 100 * MIB, at)) as moved:
            moved(MIB)
    assert _events(lines[:3]) == [
        ("upload begun", 0),
        ("upload in progress", 10),
        ("upload in progress", 20),
    ]
    assert len(lines) == 11
    # It is at its end: what comes under its key is new.
    with progress.follow(Transfer("u", "a.bin", "alice", 100 * MIB, 5 * MIB)) as moved:
        moved(1)
    assert _events(lines[-1:]) == [("upload goes on", 5)]


def test_one_that_breaks_off_says_how_far_it_came_and_why(clock: Clock, lines: list[Any]) -> None:
    with (
        pytest.raises(ValueError, match="cut"),
        ProgressLog(clock).follow(Transfer("u", "a.bin", "alice", 4 * MIB, MIB)) as moved,
    ):
        moved(MIB)
        raise ValueError("cut")
    assert _events(lines) == [("upload goes on", 25), ("upload broken off", 50)]
    assert lines[-1]["reason"] == "cut"


def test_what_comes_after_a_cut_is_told_as_new(clock: Clock, lines: list[Any]) -> None:
    progress = ProgressLog(clock)
    for at in (0, MIB):
        with (
            pytest.raises(ValueError, match="cut"),
            progress.follow(Transfer("u", "a.bin", "alice", 4 * MIB, at)),
        ):
            raise ValueError("cut")
    for _ in range(2):
        with progress.follow(Transfer("w", "b.bin", "alice", None, is_whole=True)):
            pass
    cut = "upload broken off"
    assert [line["event"] for line in lines] == [
        *("upload begun", cut, "upload goes on", cut),
        *("upload begun", "upload begun"),
    ]


def test_uploads_that_never_end_are_forgotten(clock: Clock) -> None:
    progress = ProgressLog(clock)
    for number in range(3000):
        with progress.follow(Transfer(str(number), "a.bin", "alice", None)):
            pass
    assert len(progress._told) <= 1024
