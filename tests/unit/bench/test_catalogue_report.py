"""What the catalogue bench says of its figures."""

from __future__ import annotations

import pytest

from bench.catalogue_report import (
    Figures,
    Run,
    markdown,
    page_rows,
    percentile,
    run_rows,
    verdicts,
)
from bench.machine import Machine

FIGURES = Figures(
    10_000,
    {"newest": [0.004] * 99 + [0.050], "of an owner": [0.002] * 100},
    {"reindex": Run(2.0, 50_000_000), "fsck": Run(4.0, 60_000_000)},
)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
)
def test_a_percentile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], share) == expected


def test_one_value_is_every_percentile() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_each_kind_of_page_and_each_command_has_a_row() -> None:
    assert page_rows(FIGURES) == [
        ["newest", "4.0 ms", "4.0 ms", "50.0 ms"],
        ["of an owner", "2.0 ms", "2.0 ms", "2.0 ms"],
    ]
    assert run_rows(FIGURES) == [
        ["reindex", "2.00", "5000", "50 MB"],
        ["fsck", "4.00", "2500", "60 MB"],
    ]


def test_promises_are_held_against_the_slowest_kind_of_page_and_the_reindex() -> None:
    assert [each.met for each in verdicts(FIGURES)] == [True, True]
    slow = Figures(
        10_000,
        {**FIGURES.pages, "by name": [0.021] * 100},
        {"reindex": Run(5.1, 1)},
    )
    assert [each.met for each in verdicts(slow)] == [False, False]


def test_the_record_names_machine_figures_and_verdicts() -> None:
    text = markdown(Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0"), FIGURES)
    for expected in ("- 2 cores", "| newest | 4.0 ms |", "| reindex | 2.00 |", "met: a page under"):
        assert expected in text
