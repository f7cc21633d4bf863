"""A machine's figures: real ones, and of disks that can't be asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.host.statistics import Meter, whole_disks


def test_they_are_the_machines(tmp_path: Path) -> None:
    figures = Meter(tmp_path).measure()
    space = os.statvfs(tmp_path)
    assert figures.disk_total == space.f_blocks * space.f_frsize
    assert 0 < figures.disk_free <= figures.disk_total
    assert 0 < figures.memory_available <= figures.memory_total
    assert figures.load >= 0
    assert figures.iops >= 0


def test_a_disk_that_is_gone_has_no_space(tmp_path: Path) -> None:
    figures = Meter(tmp_path / "gone").measure()
    assert (figures.disk_free, figures.disk_total) == (0, 0)
    assert figures.memory_total > 0


def test_operations_are_those_since_the_last_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = iter([1000, 3000, 500])
    clock = iter([10.0, 14.0, 15.0])
    monkeypatch.setattr(Meter, "_operations", lambda self: next(counts))
    monkeypatch.setattr("agent.host.statistics.time.monotonic", lambda: next(clock))
    meter = Meter(tmp_path)
    assert meter.measure().iops == 500
    # The disk was taken out: its counters began anew.
    assert meter.measure().iops == 0


def test_a_partitions_operations_are_not_counted_twice() -> None:
    names = ("sda", "sda1", "sda2", "nvme0n1", "nvme0n1p1", "vdb")
    assert whole_disks(names) == {"sda", "nvme0n1", "vdb"}
