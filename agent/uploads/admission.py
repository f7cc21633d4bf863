"""One ledger for what running uploads may take: slots, memory, disk, and names and tokens in use.

Of the disk it counts bytes and inodes alike: a file needs its own, one for its attributes and those
of the folders that it may be the first in. Filesystems that make inodes as they need them (btrfs,
ZFS) say that they have none in all, and bound nothing.

An upload is admitted only when everything it can come to need is there, so that none fails half-way
for memory or space. The same numbers answer the preflight, the upload itself and upload-status.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Literal

from agent.host import machine
from agent.problems import ProblemError
from portside.quantities import format_size
from portside.sizing import Sizing, inodes_kept_free
from portside.wire.status import (
    INODES_PER_FILE,
    INODES_TO_COMMIT,
    DiskStatus,
    InodeStatus,
    MemoryStatus,
    SlotStatus,
)

Kind = Literal["upload", "copy", "waiting"]
"""An upload; a copy that another node sends; an upload that is stored and waits for its copy."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What one upload asks for: its path if that is known, bytes of disk; `key` tells it apart.

    `inodes` are those that it may need; of files that resumable uploads have begun the index tells.
    """

    key: str
    path: PurePosixPath | None
    disk: int
    kind: Kind = "upload"
    inodes: int = 0


class Reservation:
    """An admitted upload's share. Leaving the context gives everything back."""

    def __init__(self, ledger: Admission, demand: Demand) -> None:
        self._ledger = ledger
        self.demand = demand

    def allocated(self) -> None:
        """The file's blocks are taken on disk now: free space shows them, the ledger need not."""
        self._ledger.release_disk(self.demand)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ledger.release(self.demand)


class Admission:
    """The ledger of one agent process. Thread-safe."""

    def __init__(
        self,
        root: Path,
        sizing: Sizing,
        begun: Callable[[], int],
        memory_available: Callable[[], int] = machine.memory_available,
    ) -> None:
        """`begun`: how many files in staging resumable uploads may go on in."""
        self._root = root
        self._sizing = sizing
        self._begun = begun
        self._memory_available = memory_available
        self._lock = threading.Lock()
        self._running: dict[str, Demand] = {}
        self._unallocated: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def check(self, demand: Demand) -> None:
        """Whether `demand` would be admitted now. Raises ProblemError with the reason if not."""
        with self._lock:
            self._check(demand)

    def admit(self, demand: Demand) -> Reservation:
        """Reserve everything in `demand` at once. Raises ProblemError when any of it is short."""
        with self._lock:
            self._check(demand)
            self._running[demand.key] = demand
            self._unallocated[demand.key] = demand.disk
        return Reservation(self, demand)

    def hold(self, key: str, size: int) -> None:
        """Promise `size` bytes of disk to an upload that goes on later; 0 ends the promise."""
        with self._lock:
            self._held.pop(key, None)
            if size > 0:
                self._held[key] = size

    def hold_less(self, key: str, size: int) -> None:
        """Some of what was promised is on disk now: `size` bytes are still to come."""
        with self._lock:
            if key in self._held:
                self._held[key] = max(0, size)

    def check_idle(self, key: str) -> None:
        """Raise ProblemError while an upload with this key is running."""
        with self._lock:
            self._check_idle(key)

    def check_space(self, size: int, inodes: int) -> None:
        """Raise ProblemError unless so many bytes and inodes of disk can be had now."""
        with self._lock:
            self._check_space(size)
            self._check_inodes(inodes)

    def release_disk(self, demand: Demand) -> None:
        """See Reservation.allocated."""
        with self._lock:
            self._unallocated.pop(demand.key, None)

    def release(self, demand: Demand) -> None:
        """Give back what `admit` reserved."""
        with self._lock:
            self._running.pop(demand.key, None)
            self._unallocated.pop(demand.key, None)

    def _check(self, demand: Demand) -> None:
        self._check_idle(demand.key)
        if demand.path is not None and any(
            other.path == demand.path for other in self._running.values()
        ):
            raise ProblemError(
                "name-taken", f"{demand.path} is being uploaded by someone else right now"
            )
        if len(self._running) >= self._sizing.upload_slots:
            raise ProblemError(
                "no-slot", f"all {self._sizing.upload_slots} upload slots are in use: try again"
            )
        self._check_share(demand.kind)
        available = self._memory_available()
        if available - self._sizing.upload_memory < self._sizing.memory_kept_free:
            raise ProblemError(
                "no-memory", f"only {format_size(available)} of memory is available: try again"
            )
        self._check_space(demand.disk)
        self._check_inodes(demand.inodes)

    def _check_share(self, kind: Kind) -> None:
        """A quarter of the slots, one at least, is the most for copies, so that uploads go on.

        As many are kept from uploads that wait for their copy: two nodes whose slots were all taken
        by such ones would wait for each other.
        """
        if kind == "upload":
            return
        share = max(1, self._sizing.upload_slots // 4)
        most = share if kind == "copy" else max(1, self._sizing.upload_slots - share)
        if sum(other.kind == kind for other in self._running.values()) >= most:
            what = "copies" if kind == "copy" else "uploads that wait for their copy"
            raise ProblemError("no-slot", f"all {most} slots for {what} are in use: try again")

    def _check_idle(self, key: str) -> None:
        if key in self._running:
            raise ProblemError(
                "upload-in-progress", "this token's upload is running: wait for its answer"
            )

    def _check_space(self, size: int) -> None:
        spare = self._disk_spare()
        if size > spare:
            raise ProblemError(
                "no-space",
                f"{format_size(size)} don't fit: {format_size(max(0, spare))} are free "
                "for uploads on this node",
            )

    def _check_inodes(self, count: int) -> None:
        """Nothing is asked of the disk for who needs none: what has begun may go on."""
        if not count:
            return
        inodes = self._inodes()
        if inodes.total and count > inodes.spare:
            raise ProblemError(
                "no-space",
                f"no inodes are left for uploads on this node: {max(0, inodes.spare)} for a file "
                f"that may need {count}; bytes are, but its filesystem keeps no more files",
            )

    def _inodes(self) -> InodeStatus:
        status = os.statvfs(self._root)
        running = sum(each.inodes for each in self._running.values())
        return InodeStatus(
            free=status.f_favail,
            total=status.f_files,
            reserved=running + self._begun() * INODES_TO_COMMIT,
            kept_free=inodes_kept_free(status.f_files),
        )

    def shortages(self) -> tuple[str, ...]:
        """Why every new upload is refused with 507, in words for people; empty when none is."""
        with self._lock:
            spare, inodes = self._disk_spare(), self._inodes()
        found = []
        if spare <= 0:
            found.append("disk-full: no bytes are left for uploads: delete files, or add space")
        if inodes.total and inodes.spare < INODES_PER_FILE:
            found.append(
                f"inodes-used-up: {inodes.free} of {inodes.total} are free, uploads get none of "
                "these: delete small files, or make a filesystem with more inodes"
            )
        return tuple(found)

    def _disk_spare(self) -> int:
        return self._disk_free() - self._promised() - self._sizing.disk_kept_free

    def _promised(self) -> int:
        return sum(self._unallocated.values()) + sum(self._held.values())

    def _disk_free(self) -> int:
        status = os.statvfs(self._root)
        return status.f_bavail * status.f_frsize

    def slots(self) -> SlotStatus:
        """Slots in use and their bound."""
        with self._lock:
            return SlotStatus(used=len(self._running), limit=self._sizing.upload_slots)

    def memory(self) -> MemoryStatus:
        """Memory held by uploads, its bound, and the node's."""
        with self._lock:
            reserved = len(self._running) * self._sizing.upload_memory
        return MemoryStatus(
            reserved=reserved,
            limit=self._sizing.upload_slots * self._sizing.upload_memory,
            available=self._memory_available(),
            total=machine.memory_total(),
            agent_rss=machine.resident_size(),
        )

    def disk(self) -> DiskStatus:
        """Space on the data filesystem and what is promised of it."""
        with self._lock:
            status = os.statvfs(self._root)
            return DiskStatus(
                free=self._disk_free(),
                total=status.f_blocks * status.f_frsize,
                reserved=self._promised(),
                kept_free=self._sizing.disk_kept_free,
                inodes=self._inodes(),
            )
