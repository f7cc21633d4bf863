"""Sizes and durations: what people write, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.quantities import (
    GIB,
    MIB,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64GiB", 64 * GIB),
        ("512MiB", 512 * MIB),
        ("4G", 4 * GIB),
        ("4 g", 4 * GIB),
        ("1.5GiB", 3 * GIB // 2),
        ("1000", 1000),
        (1000, 1000),
        ("2GB", 2_000_000_000),
    ],
)
def test_sizes_are_read_as_people_mean_them(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        *("", "4X", "-1", "-1GiB", "1e400", "nan", "four", True, "G"),
        # Read from the left, each of these begins as 1 byte.
        *("1,5GiB", "1,000", "1.000.000", "1.000", "1 000", "1GiB each"),
    ],
)
def test_what_is_no_size_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30 m", 5400),
        ("7d", 604800),
        ("60", 60),
        (60, 60),
    ],
)
def test_durations_are_read_as_people_mean_them(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2w", "h", "1h-5m", "²", "٣s", "9" * 5000, True, -5, "1.5h"])
def test_what_is_no_duration_says_how_to_write_one(text: str | int) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@given(st.text() | st.integers() | st.floats())
def test_junk_raises_nothing_but_value_errors(junk: str | int) -> None:
    for parse in (parse_size, parse_duration):
        try:
            assert parse(junk) >= 0
        except ValueError as error:
            assert "write for example" in str(error) or "negative" in str(error)


@given(st.integers(0, 2**60))
def test_sizes_survive_being_shown_within_their_rounding(size: int) -> None:
    shown = format_size(size)
    assert abs(parse_size(shown) - size) <= size * 0.06
    assert float(shown.split()[0]) < 1024 or shown.endswith("TiB")


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (4 * GIB, "4.0 GiB"),
        (MIB - 1, "1.0 MiB"),
        (5000 * GIB, "4.9 TiB"),
    ],
)
def test_sizes_are_short_for_people(size: int, shown: str) -> None:
    assert format_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0s"), (59.6, "1m00s"), (75, "1m15s"), (7265, "2h01m"), (-3, "0s")]
)
def test_durations_are_short_for_people(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown
