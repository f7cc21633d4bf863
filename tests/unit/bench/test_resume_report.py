"""What the resume bench says of its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.machine import Machine
from bench.resume_report import (
    KILLED,
    PARALLEL,
    RESTARTED,
    WHOLE,
    Figures,
    Run,
    added_wait,
    markdown,
    rows,
    verdicts,
)
from portside.quantities import GIB, MIB

_WHOLE = Run(2.0, 0.020, 80_000_000)
_CUT = Run(2.2, 0.120, 81_000_000, ready=0.8, sent_twice=32 * MIB)
FIGURES = Figures(
    2 * GIB, 4, 16, {WHOLE: [_WHOLE], KILLED: [_CUT], RESTARTED: [_CUT], PARALLEL: [_WHOLE]}
)


def test_each_kind_of_upload_has_a_row() -> None:
    found = rows(FIGURES)
    assert [row[0] for row in found] == [WHOLE, KILLED, RESTARTED, PARALLEL]
    assert found[0][1:] == ["2.00", "2.00", "20 ms", "20 ms", "-", "-", "80 MB"]
    assert found[1][1:] == ["2.20", "2.20", "120 ms", "120 ms", "0.80 s", "32.0 MiB", "81 MB"]


def test_what_a_cut_adds_is_taken_round_by_round() -> None:
    # The second round waited long for everyone: the difference of the medians would be 0.4.
    whole = [replace(_WHOLE, wait=wait) for wait in (0.1, 0.9, 0.1)]
    cut = [replace(_CUT, wait=wait) for wait in (0.2, 0.5, 0.6)]
    assert added_wait(cut, whole) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", [KILLED, RESTARTED])
def test_neither_kind_of_restart_may_add_more_than_is_promised(kind: str) -> None:
    assert [each.met for each in verdicts(FIGURES)] == [True]
    slow = replace(FIGURES, runs={**FIGURES.runs, kind: [replace(_CUT, wait=0.1211)]})
    assert [each.met for each in verdicts(slow)] == [False]


def test_the_record_names_machine_figures_and_verdicts() -> None:
    text = markdown(Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0"), FIGURES)
    for expected in ("- 2 cores", "| agent killed | 2.20 |", "met: a resumed", "16 parts over 4"):
        assert expected in text
