"""A small run of the crash figures (`make faults` is the large one), and proof that it can fail."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faults import runs
from faults.causing import crashes
from faults.causing.filesystem import Disk
from faults.checking.figures import Figures
from portside.quantities import MIB
from tests.support.agent.process import Agent

WITHOUT_SYNC = Path(__file__).parent / "without_sync"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[runs.Bench]:
    with runs.bench(tmp_path, seed="test", writers=6, tell=print) as made:
        yield made


def _tries(bench: runs.Bench, monkeypatch: pytest.MonkeyPatch) -> Iterator[runs.Bench]:
    """On a busy computer little happens before a crash: each try gives it twice the time."""
    for number in range(6):
        folder = bench.directory / f"try-{number}"
        folder.mkdir()
        yield replace(bench, directory=folder)
        monkeypatch.setattr(crashes, "LONGEST_LOAD", 2 * crashes.LONGEST_LOAD)


def _assert_kept(figures: Figures) -> None:
    assert figures.complaints == []
    assert figures.holds


def test_nothing_acknowledged_is_lost_when_the_agent_is_killed(bench: runs.Bench) -> None:
    figures = runs.kills(bench, 8).figures
    _assert_kept(figures)
    assert figures.crashes == len(figures.recovery) == 8
    assert figures.acknowledged > 8
    assert figures.resumed > 0


def test_nothing_acknowledged_or_told_is_lost_when_the_power_is_cut(
    bench: runs.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Offsets are told to few uploads in less time.
    monkeypatch.setattr(crashes, "SHORTEST_LOAD", crashes.LONGEST_LOAD)
    cuts = acknowledged = told = 0
    for again in _tries(bench, monkeypatch):
        figures = runs.cuts(again, 4).figures
        _assert_kept(figures)
        cuts += figures.crashes
        acknowledged += figures.acknowledged
        told += figures.told
        if acknowledged > cuts and told > 0:
            return
    raise AssertionError("the cuts found nothing that could have been lost")


def test_nothing_acknowledged_is_lost_on_a_failing_disk(bench: runs.Bench) -> None:
    for row in runs.injections(bench, 1):
        _assert_kept(row.figures)


def test_a_disk_that_something_else_fills_loses_nothing_and_is_deleted_from(
    bench: runs.Bench,
) -> None:
    for row in runs.full_disks(bench, 2):
        _assert_kept(row.figures)
        assert (row.figures.crashes, len(row.figures.recovery)) == (2, 2)
        assert row.figures.explained[507] > 0


def test_what_ended_stays_so_and_what_is_held_is_served_to_nobody_whatever_crashes(
    bench: runs.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for again in _tries(bench, monkeypatch):
        (row,) = runs.ends(again, 3)
        _assert_kept(row.figures)
        if row.figures.changed > 3:
            return
    raise AssertionError("nothing ended, and nothing was held")


def test_the_checks_see_what_a_node_loses_that_does_not_sync(
    bench: runs.Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not forked, each start takes two seconds of a processor: one that finds much to lose.
    monkeypatch.setattr(crashes, "SHORTEST_LOAD", crashes.LONGEST_LOAD)
    for again in _tries(bench, monkeypatch):
        figures = runs.cuts(again, 1, under=["env", f"PYTHONPATH={WITHOUT_SYNC}"]).figures
        lost = figures.broken["lost"] + figures.broken["damaged"]
        if lost > figures.acknowledged // 4 and figures.broken["partial"] > 0:
            return
    raise AssertionError("the checks see no loss")


def test_a_disk_that_something_else_holds_on_to_is_whole_again_after_a_cut(tmp_path: Path) -> None:
    with Disk(tmp_path, 64 * MIB) as disk:
        (disk.root / "synced").write_text("kept")
        disk.sync()
        # As a container's start does: it has a copy of every mount until it is done.
        other = ["unshare", "--mount", "--propagation=private", "sh", "-c", "echo; sleep 1"]
        with subprocess.Popen(other, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            disk.cut()
            disk.power_on()
            assert (disk.root / "synced").read_text() == "kept"


def test_what_was_not_synced_is_gone_after_a_cut_and_what_was_is_there(tmp_path: Path) -> None:
    with Disk(tmp_path, 64 * MIB) as disk:
        (disk.root / "synced").write_text("kept")
        disk.sync()
        (disk.root / "not-synced").write_text("lost")
        disk.cut()
        with pytest.raises(OSError, match="Input/output error"):
            (disk.root / "refused").write_text("too late")
        disk.power_on()
        assert (disk.root / "synced").read_text() == "kept"
        assert not (disk.root / "not-synced").exists()


def test_a_disk_is_given_back_whatever_happens(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="in between"), Disk(tmp_path, 64 * MIB) as disk:
        disk.cut()
        raise RuntimeError("in between")
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    devices = subprocess.run(["losetup", "--all"], capture_output=True, text=True, check=True)
    assert str(tmp_path) not in devices.stdout


def test_what_the_write_check_left_goes_with_the_next_start(tmp_path: Path) -> None:
    agent = Agent(tmp_path)
    # Its removal isn't synced: a power cut brings it back.
    (agent.root / "staging" / ".write-check-836").write_text("portside\n")
    try:
        agent.start()
        assert agent.leftovers() == []
    finally:
        agent.kill()
