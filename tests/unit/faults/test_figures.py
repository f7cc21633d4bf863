"""Figures say what broke, in numbers and in words."""

from __future__ import annotations

import pytest

from bench.machine import Machine
from faults.checking import report
from faults.checking.figures import BROKEN_PROMISES, Figures, Row

MACHINE = Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0")


def test_nothing_broken_holds() -> None:
    assert Figures(acknowledged=3).holds


@pytest.mark.parametrize("promise", BROKEN_PROMISES)
def test_one_broken_promise_is_enough_not_to_hold(promise: str) -> None:
    figures = Figures()
    figures.complain(promise, "what happened")
    assert not figures.holds
    assert figures.complaints == [f"{promise}: what happened"]


def test_a_promise_that_is_unknown_is_a_slip_of_the_program() -> None:
    with pytest.raises(AssertionError):
        Figures().complain("lots", "of it")


def test_only_the_first_complaints_are_kept_in_words_and_all_are_counted() -> None:
    figures = Figures()
    for number in range(100):
        figures.complain("lost", str(number))
    assert figures.broken["lost"] == 100
    assert len(figures.complaints) == 20


def test_every_figure_has_its_column() -> None:
    figures = Figures(crashes=2, acknowledged=1234, stored_bytes=5_600_000_000)
    figures.recovery += [0.5, 0.7, 3.0]
    figures.complain("partial", "half a file")
    text = report.markdown([Row("portside", "SIGKILL", "", figures)], MACHINE, "seed")
    head, _, row = (line for line in text.splitlines() if line.startswith("|"))
    cells = dict(
        zip(
            [cell.strip() for cell in head.strip("|").split("|")],
            [cell.strip() for cell in row.strip("|").split("|")],
            strict=True,
        )
    )
    assert (cells["crashes"], cells["acknowledged"], cells["GB"]) == ("2", "1,234", "5.6")
    assert (cells["partial"], cells["lost"]) == ("1", "0")
    assert (cells["recovery"], cells["longest"]) == ("0.70", "3.00")
    assert "1 BROKEN PROMISES" in text
