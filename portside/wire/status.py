"""What a node says of itself: what admission decides by, and whether it is ready."""

from __future__ import annotations

from pydantic import Field

from portside.wire.base import Message

INODES_TO_COMMIT = 6
"""Of a file that is in staging: its attributes, and the folders of its namespace and hour."""

INODES_PER_FILE = 1 + INODES_TO_COMMIT


class SlotStatus(Message):
    """Uploads running and how many may run at once."""

    used: int
    limit: int


class MemoryStatus(Message):
    """Bytes: held by uploads, their bound, and what the node has free and in all."""

    reserved: int
    limit: int
    available: int
    total: int
    agent_rss: int


class InodeStatus(Message):
    """Inodes of the data filesystem, like its bytes; a `total` of 0 stands for no bound."""

    free: int = Field(default=0, ge=0)
    total: int = Field(default=0, ge=0)
    reserved: int = Field(default=0, ge=0)
    kept_free: int = Field(default=0, ge=0)

    @property
    def spare(self) -> int:
        """What a new upload may have."""
        return self.free - self.reserved - self.kept_free


class FilesystemStatus(Message):
    """The data filesystem: its type, and what it lacks that others stand in for."""

    kind: str
    lacks: tuple[str, ...]


class DiskStatus(Message):
    """Bytes on the data filesystem; `reserved` is promised to running uploads, not yet written."""

    free: int
    total: int
    reserved: int
    kept_free: int
    inodes: InodeStatus = InodeStatus()


class UploadStatus(Message):
    """`GET /api/v1/system/upload-status`: the very numbers that admission decides by.

    `shortages` are why every upload is refused with 507 until there is room; a node that is only
    full is `accepting` all the same, for it needs nobody's look.
    """

    node_id: str
    version: str
    accepting: bool
    reasons: tuple[str, ...]
    shortages: tuple[str, ...] = ()
    slots: SlotStatus
    memory: MemoryStatus
    disk: DiskStatus
    filesystem: FilesystemStatus | None = None
    committed: int
    failures: dict[str, int]


class Readiness(Message):
    """`GET /health/ready`: `reasons` speak against uploads, `warnings` are for an operator."""

    ready: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
