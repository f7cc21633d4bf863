"""The worker is heard from a full disk too."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from agent.telemetry import worker_report
from agent.telemetry.worker_report import WorkerReport

LAST = WorkerReport(
    time=1.0, uptime=1.0, warnings=("disk-slow: a warning that is longer than the next report",)
)


def _fail(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(code, "not written")

    monkeypatch.setattr(Path, "write_bytes", refuse)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_without_room_a_report_takes_the_last_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "worker.json"
    worker_report.write(path, LAST)
    _fail(monkeypatch, code)
    worker_report.write(path, WorkerReport(time=2.0, uptime=1.0))
    assert worker_report.read(path) == WorkerReport(time=2.0, uptime=1.0)
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_disk_leaves_the_last_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "worker.json"
    worker_report.write(path, LAST)
    _fail(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="not written"):
        worker_report.write(path, WorkerReport(time=2.0, uptime=1.0))
    assert worker_report.read(path) == LAST
