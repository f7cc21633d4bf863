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
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType

from agent.host import machine
from agent.host.spare_threads import SpareThreads
from agent.incoming.body import Body, OpenBody
from agent.incoming.receiving import Receiving
from agent.problems import ProblemError
from agent.uploads.shares import Sender, SlotShares
from agent.uploads.slots import Kind, Slots
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

MAKING_WAY = 4.0
"""Seconds that a newcomer waits for an idle upload to end: its bytes are made durable first."""


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
    sender: Sender | None = None
    """Whose it is; None for what counts against nobody's share."""


EVERYTHING = SlotShares(per_token=2**31, per_owner=1, per_address=1)
"""Of a node whose slots anybody may have."""


class Reservation:
    """An admitted upload's share. Leaving the context gives everything back.

    Bytes of a request can be read with one only: `Receiving`, without which no body opens, is made
    where a slot is taken.
    """

    def __init__(self, ledger: Admission, demand: Demand, receiving: Receiving) -> None:
        self._ledger = ledger
        self._receiving = receiving
        self.demand = demand

    def open_body(self, open_body: OpenBody) -> Body:
        """The bytes that the request brings."""
        return open_body(self._receiving)

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
        shares: SlotShares = EVERYTHING,
    ) -> None:
        """`begun`: how many files in staging resumable uploads may go on in."""
        self.spare = SpareThreads()
        self._slots = Slots(sizing.upload_slots, shares)
        self._root = root
        self._sizing = sizing
        self._begun = begun
        self._memory_available = memory_available
        self._lock = threading.Condition()
        self._running: dict[str, Demand] = {}
        self._unallocated: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def check(self, demand: Demand) -> None:
        """Whether `demand` would be admitted now. Raises ProblemError with the reason if not.

        A slot that an idle upload gives back for it will be there.
        """
        with self._lock:
            self._check(demand, soon=True)

    def admit(self, demand: Demand) -> Reservation:
        """Reserve everything in `demand` at once. Raises ProblemError when any of it is short."""
        with self._lock:
            self._wait_for_a_slot(demand)
            self._check(demand)
            self._running[demand.key] = demand
            self._unallocated[demand.key] = demand.disk
            receiving = self._slots.take(demand.key, demand.kind, demand.sender)
        return Reservation(self, demand, receiving)

    def _wait_for_a_slot(self, demand: Demand) -> None:
        """Until an idle upload that has the slot has given way."""
        with self.spare.waiting() as may_wait:
            until = time.monotonic() + MAKING_WAY
            while may_wait and (left := until - time.monotonic()) > 0:
                taken = self._slots.taken(demand.kind, demand.sender)
                if taken is None or not self._slots.make_way(taken):
                    return
                self._lock.wait(left)

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
            self._slots.give_back(demand.key)
            self._lock.notify_all()

    def _check(self, demand: Demand, *, soon: bool = False) -> None:
        self._check_idle(demand.key)
        if demand.path is not None and any(
            other.path == demand.path for other in self._running.values()
        ):
            raise ProblemError(
                "name-taken", f"{demand.path} is being uploaded by someone else right now"
            )
        taken = self._slots.taken(demand.kind, demand.sender)
        if taken is not None and not (self._slots.make_way(taken) and soon):
            raise taken.problem
        available = self._memory_available()
        if available - self._sizing.upload_memory < self._sizing.memory_kept_free:
            raise ProblemError(
                "no-memory", f"only {format_size(available)} of memory is available: try again"
            )
        self._check_space(demand.disk)
        self._check_inodes(demand.inodes)

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
            return self._slots.status()

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
