"""What the replication bench says of its figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.machine import Machine
from bench.replicate_report import (
    OURS,
    RCLONE,
    RSYNC,
    RSYNC_SYNCED,
    Figures,
    Run,
    markdown,
    rows,
    verdicts,
)
from portside.quantities import GIB

FIGURES = Figures(
    2 * GIB,
    {
        OURS: [Run(8.0, 8.3), Run(9.0, 9.5), Run(7.0, 7.2)],
        RSYNC: [Run(10.0), Run(20.0), Run(10.0)],
        RSYNC_SYNCED: [Run(12.5)],
        RCLONE: [Run(16.0)],
    },
)


def test_each_contender_has_a_row_and_only_ours_waits_for_a_commit() -> None:
    found = {row[0]: row[1:6] for row in rows(FIGURES)}
    assert found[OURS] == ["8.00", "7.00", "256", "1.25", "8.30 s"]
    assert found[RSYNC] == ["10.00", "10.00", "205", "1.00", "-"]
    assert found[RSYNC_SYNCED] == ["12.50", "12.50", "164", "0.80", "-"]
    assert found[RCLONE][-1] == "-"


@pytest.mark.parametrize(("seconds", "met"), [(10.0, True), (11.1, True), (11.2, False)])
def test_the_promise_is_held_against_rsync(seconds: float, met: bool) -> None:
    slow = replace(FIGURES, runs={**FIGURES.runs, OURS: [Run(seconds, seconds)]})
    assert [each.met for each in verdicts(slow)] == [met]


def test_the_record_names_machine_figures_and_verdicts() -> None:
    text = markdown(Machine("2 cores", "4 GiB", "Debian", "ext4", "load 0"), FIGURES)
    for expected in ("- 2 cores", "| ours | 8.00 |", "met: from node to node", "2.0 GiB"):
        assert expected in text
