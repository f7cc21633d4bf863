"""What is promised of the data disk, and what is left of it: the ledger's part for space.

A promise says how many bytes an upload can still come to take. Blocks are taken a step ahead of the
bytes (`agent.storage.staging`), and the promise shrinks by each step: promised and taken together
are what was admitted, so that a full disk is said at an upload's start and not at its 99 %. What a
request promises is in memory; what resumable uploads may come to need stands in their rows, which
survive a restart and end with them, whoever ends them.

Of the disk inodes count as well as bytes: a file needs its own, one for its attributes and those of
the folders that it may be the first in. Filesystems that make inodes as they need them (btrfs, ZFS)
say that they have none in all, and bound nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.problems import ProblemError
from agent.uploads.shared.entries import Elsewhere
from portside.cluster import defaults
from portside.quantities import format_size
from portside.sizing import Sizing, inodes_kept_free
from portside.wire.status import INODES_PER_FILE, INODES_TO_COMMIT, DiskStatus, InodeStatus


class Begun(Protocol):
    """What the index knows of resumable uploads that may go on (`agent.index.uploads`)."""

    def files_begun(self) -> int:
        """Files in staging that they lie in."""

    def promises(self) -> list[tuple[str, int, int]]:
        """Each one's id, the bytes that it was promised, and those that are on disk."""


def promise_for(length: int | None, limit: int) -> int:
    """Bytes that are promised to an upload of this length, None when nobody says it."""
    return min(limit, defaults.UNTOLD_SIZE) if length is None else length


@dataclass(slots=True)
class DiskSpace:
    """The promises of all agent processes, and those of the index. Used under the ledger's lock."""

    root: Path
    sizing: Sizing
    begun: Begun
    requests: dict[str, int] = field(default_factory=dict)
    """Bytes still promised to each request that stores a file by itself, or begins an upload."""
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    """What other processes have promised."""
    taken: dict[str, int] = field(default_factory=dict)
    """Bytes from its own beginning for which a resumable upload has blocks. The index knows fewer:
    those that it has been told are durable."""

    def check(self, size: int) -> None:
        """Raise ProblemError unless so many bytes more can be promised."""
        spare = self.spare()
        if size > spare:
            raise ProblemError(
                "no-space",
                f"{format_size(size)} don't fit: {format_size(max(0, spare))} are free "
                "for uploads on this node",
            )

    def check_inodes(self, count: int, running: int) -> None:
        """Nothing is asked of the disk for who needs none: what has begun may go on."""
        if not count:
            return
        inodes = self.inodes(running)
        if inodes.total and count > inodes.spare:
            raise ProblemError(
                "no-space",
                f"no inodes are left for uploads on this node: {max(0, inodes.spare)} for a file "
                f"that may need {count}; bytes are, but its filesystem keeps no more files",
            )

    def check_step(self, key: str, size: int) -> int:
        """Whether a request's or an upload's next `size` bytes of disk may be taken.

        Those within its promise always; returns what is left of that behind them. Raises
        ProblemError.
        """
        left = self._left(key)
        if size > left:
            self.check(size - left)
        return max(0, left - size)

    def promised(self) -> int:
        """Bytes of disk that uploads may still come to take."""
        rows = self.begun.promises()
        open_ones = {upload_id for upload_id, _, _ in rows}
        self.taken = {key: taken for key, taken in self.taken.items() if key in open_ones}
        resumable = sum(
            max(0, promised - max(offset, self.taken.get(upload_id, 0)))
            for upload_id, promised, offset in rows
        )
        return sum(self.requests.values()) + self.elsewhere.disk + resumable

    def _left(self, key: str) -> int:
        if key in self.requests:
            return self.requests[key]
        for upload_id, promised, offset in self.begun.promises():
            if upload_id == key:
                return max(0, promised - max(offset, self.taken.get(key, 0)))
        return 0

    def spare(self) -> int:
        """Bytes that a new upload may have; below zero when others have taken them."""
        return self._free() - self.promised() - self.sizing.disk_kept_free

    def _free(self) -> int:
        status = os.statvfs(self.root)
        return status.f_bavail * status.f_frsize

    def inodes(self, running: int) -> InodeStatus:
        """Inodes, `running` of which requests may come to need."""
        status = os.statvfs(self.root)
        return InodeStatus(
            free=status.f_favail,
            total=status.f_files,
            reserved=running + self.begun.files_begun() * INODES_TO_COMMIT,
            kept_free=inodes_kept_free(status.f_files),
        )

    def status(self, running: int) -> DiskStatus:
        """Space on the data filesystem and what is promised of it."""
        status = os.statvfs(self.root)
        return DiskStatus(
            free=self._free(),
            total=status.f_blocks * status.f_frsize,
            reserved=self.promised(),
            kept_free=self.sizing.disk_kept_free,
            inodes=self.inodes(running),
        )

    def shortages(self, running: int) -> tuple[str, ...]:
        """Why every new upload is refused with 507, in words for people; empty when none is."""
        spare, inodes = self.spare(), self.inodes(running)
        found = []
        if spare <= 0:
            found.append("disk-full: no bytes are left for uploads: delete files, or add space")
        if inodes.total and inodes.spare < INODES_PER_FILE:
            found.append(
                f"inodes-used-up: {inodes.free} of {inodes.total} are free, uploads get none of "
                "these: delete small files, or make a filesystem with more inodes"
            )
        return tuple(found)
