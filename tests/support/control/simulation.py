"""A cluster for tests: the real control plane, nodes that keep files in memory and speak to it.

Heartbeats and receipts are signed as real nodes sign them. Time is the test's: `goes_on` lets
seconds pass, in which nodes report, carry out their leases and workers go their rounds. After each
step every file's good copies are counted, on the nodes' disks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session as Transaction

from control.cluster import rosters
from control.db.database import Database
from control.db.models import Copy, File, Node
from control.worker import rounds
from control.worker.rounds import Round, Routine
from portside.inventory import EMPTY, toggled
from portside.quantities import GIB
from portside.wire.heartbeat import Lease, WorkDone
from tests.support.control.cluster import FakeNodes, take_over
from tests.support.control.core import Core

NODES = ("s01", "s02", "s03", "s04")

EVERY = 15.0
"""Seconds between two heartbeats, and between two rounds of the workers."""

DELAYS = {"heartbeat_every": EVERY / 2, "dead_after": 1.5 * EVERY, "repair_after": 3 * EVERY}
"""A node is down with the second beat that didn't come, and given up three steps later."""

DOWN = 2 * EVERY
"""Seconds after which a node that fell silent is down, and not given up."""

GIVEN_UP = 6 * EVERY
"""Seconds after which a node that fell silent is given up for certain."""

ROUNDS = 60
"""After so many what was expected isn't going to happen."""

_SERVED = (
    select(Copy.file_id, Copy.node_id)
    .join(File, File.file_id == Copy.file_id)
    .where(Copy.state == "present", File.state == "committed")
)
"""Files and the nodes that are said to have them."""


@dataclass
class Disk:
    """A node's files by their ids, and what it does."""

    files: set[str] = field(default_factory=set)
    done: list[WorkDone] = field(default_factory=list)
    up: bool = True
    obeys: bool = True
    """Carries out its leases; otherwise it just has them."""
    refuses: bool = False
    """Whatever is pushed to it fails."""
    free: int = 80 * GIB
    received: list[str] = field(default_factory=list)
    """Files that were pushed to it, in their order."""
    leases: tuple[Lease, ...] = ()
    """Of the last answer."""


class Simulation(Core):
    """Four nodes and a worker; two copies of each file unless said otherwise."""

    def __init__(self, folder: Path, database: Database, url: str, **changed: Any) -> None:
        super().__init__(folder, database, url, **{**DELAYS, **changed})
        self.nodes = FakeNodes(NODES)
        take_over(database, self.nodes.roster(version=2), self.clock.now)
        self.snapshots.forget()
        self.disks = {node_id: Disk() for node_id in NODES}
        self.lowest: dict[str, int] = {}
        self.workers = [self.worker()]
        self.database.write(self._listen)
        self.nodes_report()

    def _listen(self, session: Transaction) -> None:
        """Somebody has always listened: silence counts from the beginning."""
        rosters.cluster_state(session).listening_since = self.clock.now

    def worker(self) -> Callable[[], None]:
        """A worker's round, with a memory of its own: another one, or one that starts anew."""
        routines = rounds.of_copies(self.settings, self.database, self.clock)

        def go_round() -> None:
            self.snapshots.forget()
            for routine in (Routine("silence", 0, rounds.notice_silence), *routines):
                routine.run(Round(self.settings, self.database, self.clock.now))

        return go_round

    def has(self, *node_ids: str, size: int = 1000, path: str | None = None, **claims: Any) -> str:
        """A file that these nodes have, with their receipts; returns its id."""
        file_id: str = claims.pop("file_id", secrets.token_hex(16))
        told = {"file_id": file_id, "size": size, "jti": secrets.token_hex(16), **claims}
        if path is not None:
            told["path"] = PurePosixPath(path)
        for node_id in node_ids:
            self.disks[node_id].files.add(file_id)
            self.expects(file_id, node_id)
            self.takes(self.nodes.receipt(node_id, self.clock.now, **told))
        self.names(file_id)
        return file_id

    def goes_on(self, seconds: float = EVERY) -> None:
        """Time passes with heartbeats, work and rounds."""
        until = self.clock.now.timestamp() + seconds
        while self.clock.now.timestamp() < until:
            self.clock.pass_by(EVERY)
            self.nodes_report()
            self.workers_go_round()

    def goes_on_until(self, reached: Callable[[], bool]) -> None:
        """Time passes until something holds."""
        for _ in range(ROUNDS):
            if reached():
                return
            self.goes_on()
        raise AssertionError(f"not reached: {self.picture()}")

    def nodes_report(self) -> None:
        """Each node that is up reports what it did, and does what it is told."""
        self.snapshots.forget()
        for node_id, disk in self.disks.items():
            if disk.up:
                self.node_reports(node_id)
                self.count()
        self.snapshots.forget()

    def node_reports(self, node_id: str) -> None:
        disk = self.disks[node_id]
        told, disk.done = tuple(disk.done), []
        answer = self.beats(
            node_id,
            work=told,
            inventory=toggled(EMPTY, disk.files),
            files=len(disk.files),
            disk_free=disk.free,
        )
        disk.leases = answer.work
        if disk.obeys:
            disk.done = [done for lease in answer.work if (done := self._do(node_id, lease))]

    def workers_go_round(self) -> None:
        for go_round in self.workers:
            go_round()
            self.count()

    def _do(self, node_id: str, lease: Lease) -> WorkDone | None:
        disk = self.disks[node_id]
        outcome = {"lease_id": lease.lease_id, "outcome": "done"}
        if lease.file_id not in disk.files:
            return WorkDone.model_validate({**outcome, "outcome": "missing"})
        if lease.kind == "delete":
            disk.files.remove(lease.file_id)
            return WorkDone.model_validate(outcome)
        assert lease.target is not None
        target = self.disks[lease.target]
        if not target.up or target.refuses:
            return WorkDone.model_validate({**outcome, "outcome": "failed", "detail": "refused"})
        target.files.add(lease.file_id)
        target.received.append(lease.file_id)
        receipt = self.nodes.receipt(
            lease.target,
            self.clock.now,
            file_id=lease.file_id,
            path=lease.path,
            size=lease.size,
            sha256=lease.sha256,
        )
        return WorkDone.model_validate({**outcome, "receipt": receipt})

    def wants(self, node_id: str, state: str) -> None:
        """An operator's wish."""
        self.database.write(
            lambda session: session.execute(
                update(Node)
                .where(Node.node_id == node_id)
                .values(wanted=state, wanted_at=self.clock.now)
            )
        )
        self.snapshots.forget()

    def count(self) -> None:
        """Note down how few good copies each file has had: served, and on a disk that is up."""
        rows = self.database.read(lambda session: session.connection().execute(_SERVED).all())
        good: dict[str, int] = {}
        for file_id, node_id in rows:
            disk = self.disks[node_id]
            good[file_id] = good.get(file_id, 0) + (disk.up and file_id in disk.files)
        for file_id, count in good.items():
            self.lowest[file_id] = min(count, self.lowest.get(file_id, count))

    def holders(self, file_id: str) -> set[str]:
        """The nodes whose disk has the file."""
        return {node_id for node_id, disk in self.disks.items() if file_id in disk.files}

    def never_below(self, factor: int, file_ids: Sequence[str]) -> None:
        """No file ever had fewer good copies."""
        assert {each: self.lowest[each] for each in file_ids if self.lowest[each] < factor} == {}

    def picture(self) -> dict[str, object]:
        """What there is, for a test that fails."""
        return {
            node_id: (disk.up, sorted(each[:4] for each in disk.files))
            for node_id, disk in self.disks.items()
        }
