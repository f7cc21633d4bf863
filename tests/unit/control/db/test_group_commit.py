"""Commits made durable together: none returns before its sync, many share one, failure is final."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from control.db.database import Database, DatabaseUnavailable
from control.db.group_commit import GroupCommit


class Disk:
    """Stands in for fdatasync: counts, waits until it is let go, fails if it is told to."""

    def __init__(self) -> None:
        self.syncs = 0
        self.begun = threading.Semaphore(0)
        self.goes_on = threading.Semaphore(0)
        self.error: OSError | None = None

    def sync(self, descriptor: int) -> None:
        self.syncs += 1
        self.begun.release()
        assert self.goes_on.acquire(timeout=60)
        if self.error is not None:
            raise self.error


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.sync)
    yield disk


def group(folder: Path) -> GroupCommit:
    (folder / "a.sqlite-wal").touch()
    return GroupCommit(folder / "a.sqlite")


def test_those_that_come_during_a_sync_share_the_next_one(tmp_path: Path, disk: Disk) -> None:
    commits = group(tmp_path)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(commits.wait)
        assert disk.begun.acquire(timeout=60)
        others = [threads.submit(commits.wait) for _ in range(8)]
        while commits._asked < 9:
            threading.Event().wait(0.001)
        assert not any(each.done() for each in (first, *others))
        disk.goes_on.release()
        first.result(timeout=60)
        assert disk.begun.acquire(timeout=60)
        assert not any(each.done() for each in others), "their sync has only begun"
        disk.goes_on.release()
        for each in others:
            each.result(timeout=60)
    assert disk.syncs == 2


def test_a_transaction_returns_only_when_it_is_on_disk(tmp_path: Path, disk: Disk) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(
            database.write, lambda session: session.execute(text("CREATE TABLE t (a)")) and None
        )
        assert disk.begun.acquire(timeout=60)
        assert not written.done()
        disk.goes_on.release()
        written.result(timeout=60)
    database.write(lambda s: s.execute(text("INSERT INTO t VALUES (1)")) and None, durable=False)
    assert disk.syncs == 1
    database.close()


def test_a_failed_sync_is_final(tmp_path: Path, disk: Disk) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.sqlite'}")
    disk.error = OSError(errno.EIO, "Input/output error")
    disk.goes_on.release()
    for statement in ("CREATE TABLE t (a)", "CREATE TABLE u (a)"):
        with pytest.raises(DatabaseUnavailable, match="Input/output error"):
            database.write(lambda s, sql=statement: s.execute(text(sql)) and None)  # type: ignore[misc]
    assert disk.syncs == 1, "a second one would succeed and lie"
    database.close()


def test_a_log_that_is_gone_was_taken_over_by_the_database(tmp_path: Path) -> None:
    GroupCommit(tmp_path / "none.sqlite").wait()
