"""What a machine has and does, as psutil measures it: memory, load, its data disk's operations."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

from agent.host import machine

_BLOCK_DEVICES = Path("/sys/dev/block")


@dataclass(frozen=True, slots=True)
class Statistics:
    """One measurement. Bytes; `iops` are reads and writes a second since the one before."""

    disk_free: int
    disk_total: int
    iops: float
    memory_available: int
    memory_total: int
    load: float
    """Processes that ran or waited, on average over the last minute (getloadavg(3))."""


class Meter:
    """Measures one data filesystem and the machine it is on."""

    def __init__(self, root: Path, block_devices: Path = _BLOCK_DEVICES) -> None:
        self._root = root
        self._block_devices = block_devices
        self._last = (time.monotonic(), self._operations())

    def measure(self) -> Statistics:
        """As of now. A filesystem that can't be asked has no space: nobody should count on it."""
        free, total = _space(self._root)
        return Statistics(
            disk_free=free,
            disk_total=total,
            iops=self._iops(),
            memory_available=machine.memory_available(),
            memory_total=machine.memory_total(),
            load=psutil.getloadavg()[0],
        )

    def _iops(self) -> float:
        then, before = self._last
        now, operations = self._last = (time.monotonic(), self._operations())
        # Counters begin anew when a disk is taken out and put in again.
        return max(0.0, (operations - before) / max(now - then, 1e-3))

    def _operations(self) -> int:
        """Reads and writes since the machine's start, of the root's disk if the kernel counts them
        by itself, else of all disks."""
        name = self._disk_name()
        counted = psutil.disk_io_counters(perdisk=True)
        chosen = {name} if name in counted else whole_disks(counted)
        return sum(counted[each].read_count + counted[each].write_count for each in chosen)

    def _disk_name(self) -> str:
        try:
            device = self._root.stat().st_dev
            return (self._block_devices / f"{os.major(device)}:{os.minor(device)}").resolve().name
        except OSError:
            return ""


def _space(root: Path) -> tuple[int, int]:
    """Bytes free for the agent's user, and in all."""
    try:
        usage = psutil.disk_usage(str(root))
    except OSError:
        return 0, 0
    return usage.free, usage.total


def whole_disks(names: Collection[str]) -> set[str]:
    """Without partitions, whose operations are their disk's as well."""
    return {
        name
        for name in names
        if not any(name != other and name.startswith(other) for other in names)
    }
