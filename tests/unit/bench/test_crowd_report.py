"""What the crowd bench says of its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.crowd_report import Figures, Run, markdown, memory_allowed, rows, verdicts
from bench.machine import Machine
from bench.places import NODE
from portside import sizing
from portside.quantities import MIB

_SIZING = sizing.size(NODE)
_RUN = Run(
    seconds=5.0,
    cpu=10.0,
    answers=[0.5] * 99 + [2.0],
    failures=[],
    open_at_once=100,
    peak_memory=memory_allowed(100, _SIZING),
    memory_at_rest=70_000_000,
)
FIGURES = Figures(100, 50_000_000, _SIZING, [_RUN, replace(_RUN, seconds=4.0)])


def test_each_round_has_a_row() -> None:
    found = rows(FIGURES)
    assert found[0][:9] == ["100", "100", "5.00", "1.00", "0.50 s", "2.00 s", "2.00", "0", "640 MB"]
    assert found[1][2:4] == ["4.00", "1.25"]


def test_memory_grows_by_an_upload_and_its_threads() -> None:
    base = memory_allowed(0, _SIZING)
    assert base == sizing.AGENT_BASE + sizing.SPARE_THREADS * sizing.THREAD_STACK
    one_more = memory_allowed(1, _SIZING) - base
    assert one_more == 5 * MIB + sizing.THREADS_PER_UPLOAD * sizing.THREAD_STACK


@pytest.mark.parametrize(
    ("run", "met"),
    [
        (_RUN, [True, True]),
        (replace(_RUN, failures=["503"]), [False, True]),
        # Uploads that came one after the other prove nothing.
        (replace(_RUN, open_at_once=99), [False, True]),
        (replace(_RUN, peak_memory=_RUN.peak_memory + 1), [True, False]),
    ],
)
def test_one_round_is_enough_to_break_a_promise(run: Run, met: list[bool]) -> None:
    found = verdicts(replace(FIGURES, runs=[_RUN, run]))
    assert [each.met for each in found] == met


def test_a_round_in_which_everything_failed_is_still_told() -> None:
    failed = replace(FIGURES, runs=[replace(_RUN, answers=[], failures=["no answer"] * 100)])
    assert rows(failed)[0][4:8] == ["-", "-", "2.00", "100"]


def test_the_record_names_machine_figures_and_verdicts() -> None:
    text = markdown(Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0"), FIGURES)
    for expected in ("- 2 cores", "| 100 | 100 | 5.00 |", "met: 100 uploads", "47.7 MiB"):
        assert expected in text
