"""Leases: taken once, done once, told until heard; pushes end here when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from agent.heartbeat.leases import Leases
from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.replication.queue import PushQueue
from agent.storage.staging import DiskFull
from portside.wire.files import StoredFile
from portside.wire.heartbeat import MOST_DONE, Lease, WorkDone

NOW = datetime(2026, 1, 1, tzinfo=UTC)
"""The control plane's clock, which is not this machine's."""


class Node:
    """Leases over a real index with one file, and what was deleted."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(folder / "index.sqlite")
        self.pushes = PushQueue(self.database)
        self.deleted: list[str] = []
        self.removed: list[str] = []
        self.failure: Exception | None = None
        self.file = StoredFile(
            file_id="f" * 32,
            node_id="s01",
            namespace="isos",
            owner="me",
            name="a.iso",
            path=PurePosixPath("isos/a.iso"),
            url="https://s01.example.net/uploads/isos/a.iso",
            size=5,
            sha256="a" * 64,
            content_type="application/octet-stream",
            committed_at=NOW,
            receipt="a.b.c",
        )
        index = FileIndex(self.database)
        index.begin(Intent("token-0001", "a.part", self.file))
        index.commit(self.file.file_id)
        self.start()

    def start(self) -> None:
        """As after a restart."""
        self.leases = Leases(
            "s01",
            self.database,
            self.pushes,
            lambda file_id, order: self._recorded(self.deleted)(file_id),
            self._recorded(self.removed),
        )

    def _recorded(self, into: list[str]) -> Callable[[str], bool]:
        def remove(file_id: str) -> bool:
            if self.failure is not None:
                raise self.failure
            into.append(file_id)
            return True

        return remove

    def lease(self, number: int = 1, **changed: Any) -> Lease:
        """A lease of this file, a replication to s02 unless changed."""
        lease = {
            "lease_id": f"lease-{number}",
            "kind": "replicate",
            "target": "s02",
            "file_id": self.file.file_id,
            "path": self.file.path,
            "size": self.file.size,
            "sha256": self.file.sha256,
            "until": NOW + timedelta(minutes=10),
        }
        return Lease.model_validate({**lease, **changed})

    def take(self, *leases: Lease) -> None:
        self.leases.take(leases, NOW)

    def work(self) -> None:
        """One look for work."""
        self.leases._carry_out(Pulse(threading.Event()))

    def outcomes(self) -> list[tuple[str, str]]:
        return [(done.lease_id, done.outcome) for done in self.leases.to_tell()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_push_is_ordered_once_and_its_receipt_told_until_it_is_heard(node: Node) -> None:
    node.take(node.lease(bytes_per_second=1000))
    node.work()
    node.work()
    (push,) = node.pushes.all()
    assert (push.file_id, push.target, push.bytes_per_second) == ("f" * 32, "s02", 1000)
    assert node.leases.to_tell() == []
    node.pushes.succeeded(push, "x.y.z")
    node.work()
    done = WorkDone(lease_id="lease-1", outcome="done", receipt="x.y.z")
    assert node.leases.to_tell() == node.leases.to_tell() == [done]
    assert len(node.pushes.ended(["lease-1"])) == 1
    node.leases.told(["lease-1"])
    assert node.pushes.ended(["lease-1"]) == []
    assert node.leases.to_tell() == []
    assert node.leases.unfinished() == 0


def test_a_push_that_was_ordered_before_a_restart_is_settled_after_it(node: Node) -> None:
    node.take(node.lease())
    node.work()
    node.start()
    node.pushes.remove([push.number for push in node.pushes.all()])
    node.work()
    assert node.outcomes() == [("lease-1", "failed")]


@pytest.mark.parametrize(("tombstone", "times"), [(True, (1, 0)), (False, (0, 1))])
def test_a_deletion_is_for_good_only_if_the_lease_says_so(
    node: Node, tombstone: bool, times: tuple[int, int]
) -> None:
    node.take(node.lease(kind="delete", tombstone=tombstone))
    node.work()
    assert (len(node.deleted), len(node.removed)) == times
    assert node.outcomes() == [("lease-1", "done")]


def test_a_deletion_that_failed_is_told_as_failed_and_done_when_granted_anew(node: Node) -> None:
    lease = node.lease(kind="delete")
    node.failure = DiskFull("the disk is full")
    node.take(lease)
    node.work()
    (failed,) = node.leases.to_tell()
    assert (failed.outcome, failed.detail) == ("failed", "the disk is full")
    node.leases.told(["lease-1"])
    node.failure = None
    # The very same grant only asks again how it ended.
    node.take(lease)
    node.work()
    assert node.outcomes() == [("lease-1", "failed")]
    node.leases.told(["lease-1"])
    node.take(lease.model_copy(update={"until": NOW + timedelta(minutes=20)}))
    node.work()
    assert node.outcomes() == [("lease-1", "done")]


def test_what_is_done_stays_done_when_it_is_granted_anew(node: Node) -> None:
    node.take(node.lease(kind="delete"))
    node.work()
    node.leases.told(["lease-1"])
    node.take(node.lease(kind="delete", until=NOW + timedelta(minutes=20)))
    node.work()
    assert node.outcomes() == [("lease-1", "done")]
    assert len(node.deleted) == 1


def test_a_lease_lasts_by_the_control_planes_clock(node: Node) -> None:
    node.take(node.lease(1, kind="delete", until=NOW - timedelta(seconds=1)))
    node.take(node.lease(2, kind="delete", until=NOW + timedelta(seconds=60)))
    node.work()
    assert node.outcomes() == [("lease-2", "done")]


def test_a_file_that_was_deleted_just_before_a_crash_counts_as_deleted(node: Node) -> None:
    node.take(node.lease(kind="delete"))
    with node.database.transaction() as connection:
        connection.execute("UPDATE files SET state = 'DELETED'")
    node.work()
    assert node.outcomes() == [("lease-1", "done")]
    assert node.deleted == []


def test_a_heartbeat_carries_a_bounded_number_of_outcomes(node: Node) -> None:
    node.take(*(node.lease(number, file_id="0" * 32) for number in range(MOST_DONE + 50)))
    node.work()
    first = node.outcomes()
    assert len(first) == MOST_DONE
    node.leases.told([lease_id for lease_id, _ in first])
    rest = node.outcomes()
    assert len(rest) == 50
    assert not set(first) & set(rest)


def test_leases_that_were_told_long_ago_are_forgotten(node: Node) -> None:
    node.take(node.lease(1, file_id="0" * 32), node.lease(2, file_id="0" * 32))
    node.work()
    node.leases.told(["lease-1"])
    with node.database.transaction() as connection:
        connection.execute("UPDATE leases SET until = until - 90000")
    node.leases.told(["lease-2"])
    assert node.database.rows("SELECT lease_id FROM leases") == []


def test_a_push_that_failed_is_ordered_again_when_it_is_granted_anew(node: Node) -> None:
    node.take(node.lease())
    node.work()
    node.pushes.remove([push.number for push in node.pushes.all()])
    node.work()
    assert node.outcomes() == [("lease-1", "failed")]
    node.leases.told(["lease-1"])
    node.take(node.lease(until=NOW + timedelta(minutes=20)))
    node.work()
    node.pushes.succeeded(node.pushes.all()[0], "x.y.z")
    node.work()
    assert node.outcomes() == [("lease-1", "done")]
