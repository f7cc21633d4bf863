"""Crash, start again, check: the same round for every store and every kind of crash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from faults.causing.filesystem import Disk
from faults.causing.workload import Writer, under_load
from faults.checking.figures import Figures

SHORTEST_LOAD = 0.05
LONGEST_LOAD = 0.4
"""Seconds from the writers' start to the crash."""

_FULL = 0.55
"""The share of the disk in use at which a store is checked once more in full and laid out anew."""

_TELL_EVERY = 10


class StartFailed(Exception):
    """A store doesn't start; the message ends with its log's last lines."""


class Store(Protocol):
    """What is crashed: a server over a disk, the load on it, and what it promised."""

    name: str
    figures: Figures

    def lay_out(self) -> None:
        """Prepare an empty disk. What was promised before is over."""

    def start(self) -> float:
        """Start; the seconds until it answers. Raises StartFailed."""

    def freeze(self) -> None:
        """Stop every process where it is."""

    def kill(self) -> None:
        """End every process at once. Nothing to do when none runs."""

    def writers(self, count: int) -> Sequence[Writer]:
        """Clients for `under_load`."""

    def check(self) -> None:
        """After a restart: compare what is there with what was promised."""

    def settle(self) -> None:
        """The last check before the disk is wiped: everything, to its end."""


@dataclass(frozen=True)
class Plan:
    """How often to crash a store, and under how many writers."""

    crashes: int
    writers: int
    random: Random
    tell: Callable[[str], None]


def kill(store: Store, disk: Disk) -> None:
    """The processes die, the machine lives: what the kernel holds is not lost."""
    store.kill()


def cut_power(store: Store, disk: Disk) -> None:
    """Processes and disk stop at the same moment; what was only in memory is gone."""
    store.freeze()
    disk.cut()
    store.kill()
    disk.power_on()


def either(
    random: Random, *crashes: Callable[[Store, Disk], None]
) -> Callable[[Store, Disk], None]:
    """One of these crashes, another one each time."""
    return lambda store, disk: random.choice(crashes)(store, disk)


def run(store: Store, disk: Disk, crash: Callable[[Store, Disk], None], plan: Plan) -> None:
    """Crash `store` as planned, with all checks; whatever is on the disk goes."""
    try:
        ready = False
        for number in range(1, plan.crashes + 1):
            if not ready:
                _begin(store, disk)
            seconds = plan.random.uniform(SHORTEST_LOAD, LONGEST_LOAD)
            under_load(store.writers(plan.writers), seconds, lambda: crash(store, disk))
            store.figures.crashes += 1
            ready = _came_back(store)
            if ready:
                store.check()
                if disk.used_share > _FULL or number == plan.crashes:
                    store.settle()
                    ready = False
            if not ready:
                store.kill()
            if number % _TELL_EVERY == 0 or number == plan.crashes:
                plan.tell(f"{number}/{plan.crashes}: {store.figures.line()}")
    finally:
        store.kill()


def _begin(store: Store, disk: Disk) -> None:
    disk.wipe()
    store.lay_out()
    # A node is laid out long before its first upload: only what comes now may be lost.
    disk.sync()
    store.start()


def _came_back(store: Store) -> bool:
    """Start after a crash; a store that can't has lost what it acknowledged."""
    try:
        store.figures.recovery.append(store.start())
    except StartFailed as error:
        store.figures.complain("down", str(error))
        return False
    return True
