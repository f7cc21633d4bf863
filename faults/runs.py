"""Which store meets which crashes, how often, on one disk after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from faults.causing.clock_steps import SteppedNode
from faults.causing.crashes import TELL_EVERY, Plan, cut_power, either, kill, run
from faults.causing.ending_node import EndingNode
from faults.causing.filesystem import Disk
from faults.causing.full_node import FullNode
from faults.causing.hog import Resource
from faults.causing.injections import INJECTIONS, FailingNode
from faults.causing.peer import Peer
from faults.causing.peers import SeaweedFS, TusNode
from faults.causing.portside_node import PortsideNode
from faults.causing.restores import RestoredCluster
from faults.checking.content import Contents
from faults.checking.figures import Row
from portside.quantities import GIB

DISK_SIZE = 1 * GIB

_FULL_DISKS: dict[Resource, int | None] = {"bytes": None, "inodes": 4096}
"""What is to run out, and the inodes of that disk: taking a hundred thousand takes long."""


@dataclass(frozen=True)
class Bench:
    """Where crashes happen, and what makes them repeatable: the load, not the moments."""

    directory: Path
    disk: Disk
    seed: str
    writers: int
    tell: Callable[[str], None]

    def random(self, what: str) -> Random:
        """Random numbers of its own for each thing, so that none depends on another."""
        return Random(f"{self.seed} {what}")  # noqa: S311 (repeatable, not secret)

    def contents(self, what: str) -> Contents:
        """Content for one store."""
        return Contents(f"{self.seed} {what}")

    def home(self, name: str) -> Path:
        """A folder outside of the disk that is crashed."""
        path = self.directory / name
        path.mkdir()
        return path

    def plan(self, crashes: int, what: str) -> Plan:
        """So many crashes, told about under this name."""
        return Plan(
            crashes, self.writers, self.random(what), lambda line: self.tell(f"{what} {line}")
        )


@contextmanager
def bench(place: Path, seed: str, writers: int, tell: Callable[[str], None]) -> Iterator[Bench]:
    """A folder in `place` with a disk to crash. Raises FilesystemFailed without root's rights."""
    with (
        tempfile.TemporaryDirectory(prefix="portside-faults-", dir=place) as name,
        Disk(Path(name), DISK_SIZE) as disk,
    ):
        yield Bench(Path(name), disk, seed, writers, tell)


def kills(on: Bench, count: int) -> Row:
    """SIGKILL to all of a Portside node."""
    node = _node(on, "kills")
    run(node, on.disk, kill, on.plan(count, "SIGKILL"))
    return Row(node.name, "SIGKILL", "", node.figures)


def cuts(on: Bench, count: int, under: Sequence[str] = ()) -> Row:
    """Power cuts under a Portside node, started by the command `under`."""
    node = _node(on, "cuts", under)
    run(node, on.disk, cut_power, on.plan(count, "power cut"))
    return Row(node.name, "power cut", "", node.figures)


def injections(on: Bench, rounds: int) -> list[Row]:
    """Each way for a disk to fail, so many times."""
    rows = []
    for number, (name, injection) in enumerate(INJECTIONS.items()):
        home, random = on.home(f"injection-{number}"), on.random(name)
        contents = on.contents(name)
        node = FailingNode(injection, on.disk, home, on.disk.root, contents, random)
        run(node, on.disk, kill, on.plan(rounds, name))
        rows.append(Row(node.name, name, "", node.figures))
    return rows


def full_disks(on: Bench, rounds: int) -> list[Row]:
    """A disk without bytes and one without inodes, each so many times, half of the crashes cuts."""
    rows = []
    for resource, inodes in _FULL_DISKS.items():
        what = f"no {resource}"
        home, random = on.home(f"no-{resource}"), on.random(what)
        with Disk(home, DISK_SIZE, inodes) as disk:
            node = FullNode(resource, disk, home, disk.root, on.contents(what), random)
            crash = either(random, kill, cut_power)
            run(node, disk, crash, on.plan(rounds, what))
        rows.append(Row(node.name, what, "", node.figures))
    return rows


def clock_steps(on: Bench, rounds: int) -> list[Row]:
    """A clock that is set ahead or back before each kill, and right again after the next start."""
    home, random = on.home("clock"), on.random("clock")
    node = SteppedNode(home, on.disk.root, on.contents("clock"), random)
    run(node, on.disk, kill, on.plan(rounds, "clock step"))
    return [Row(node.name, "clock step", "", node.figures)]


def ends(on: Bench, rounds: int) -> list[Row]:
    """Files that end, come back, are held and released under crashes, half of them cuts."""
    home, random = on.home("ends"), on.random("ends")
    node = EndingNode(home, on.disk.root, on.contents("ends"), random)
    run(node, on.disk, either(random, kill, cut_power), on.plan(rounds, "ends"))
    return [Row(node.name, "either", "", node.figures)]


def restores(on: Bench, rounds: int) -> list[Row]:
    """A control plane whose database is an older one after each kill."""
    cluster = RestoredCluster(on.home("restores"), on.random("restores"))
    try:
        cluster.start()
        for number in range(1, rounds + 1):
            cluster.round()
            if number % TELL_EVERY == 0 or number == rounds:
                on.tell(f"restore {number}/{rounds}: {cluster.figures.line()}")
    finally:
        cluster.end()
    return [Row("portside, cluster", "restore", "", cluster.figures)]


def peers(on: Bench, count: int, cache: Path) -> list[Row]:
    """The same power cuts under the peers. Raises PeerMissing."""
    made = (on.disk.root, on.contents("peers"), on.random("peers"), cache)
    home = on.home("peers")
    stores: list[tuple[Peer, int]] = [
        (TusNode(home, *made), count),
        (SeaweedFS(home, *made), count),
        # It needs long to come back: enough to see what the setting changes.
        (SeaweedFS(home, *made, fsync=True), max(1, count // 5)),
    ]
    rows = []
    for peer, often in stores:
        run(peer, on.disk, cut_power, on.plan(often, f"{peer.name}, power cut"))
        rows.append(Row(f"{peer.name} ({peer.version()})", "power cut", peer.setup, peer.figures))
    return rows


def _node(on: Bench, what: str, under: Sequence[str] = ()) -> PortsideNode:
    return PortsideNode(on.home(what), on.disk.root, on.contents(what), on.random(what), under)
