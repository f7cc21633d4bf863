"""What a node says of itself: what admission decides by, and whether it is ready."""

from __future__ import annotations

from portside.wire.base import Message


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


class DiskStatus(Message):
    """Bytes on the data filesystem; `reserved` is promised to running uploads, not yet written."""

    free: int
    total: int
    reserved: int
    kept_free: int


class UploadStatus(Message):
    """`GET /api/v1/system/upload-status`: the very numbers that admission decides by."""

    node_id: str
    version: str
    accepting: bool
    reasons: tuple[str, ...]
    slots: SlotStatus
    memory: MemoryStatus
    disk: DiskStatus
    committed: int
    failures: dict[str, int]


class Readiness(Message):
    """`GET /health/ready`: `reasons` speak against uploads, `warnings` are for an operator."""

    ready: bool
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
