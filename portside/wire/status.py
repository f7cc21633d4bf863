"""What a node says of itself: what admission decides by, and whether it is ready.

Some numbers are told twice, under the names that monitoring of other upload servers asks for:
`active_uploads`, `max_concurrent`, `used`, `percent`. They are worked out from the others.
"""

from __future__ import annotations

from pydantic import Field, RootModel, computed_field

from portside.wire.base import Message
from portside.wire.bounds import MOST_REASONS, Amount, Label, Measured, Moment, Name, Prose

INODES_TO_COMMIT = 6
"""Of a file that is in staging: its attributes, and the folders of its namespace and hour."""

INODES_PER_FILE = 1 + INODES_TO_COMMIT

MOST_PROBLEMS = 256
"""Kinds of problems: there are some sixty."""

MOST_FAILURES = 50
"""Failed uploads that are told."""


def used_percent(free: int, total: int) -> float:
    """The share of a disk or of memory that is used, in percent."""
    return round(100 * max(0, total - free) / total, 1) if total > 0 else 0.0


class SlotStatus(Message):
    """Uploads running and how many may run at once: in all, and of one party.

    `per_*` are 0 where an agent doesn't tell: before there were shares.
    """

    used: Amount
    limit: Amount
    per_token: Amount = 0
    per_owner: Amount = 0
    per_address: Amount = 0
    """By IPv4 address, or IPv6 network of 64 bits."""
    gave_way: Amount = 0
    """Uploads that were idle and ended for others, since the agent's start."""


class BandwidthStatus(Message):
    """Bytes per second that may come in and go out; null is without a bound.

    `waiting` requests have bytes for the node that may not come in yet.
    """

    upload: Amount | None = None
    owner: Amount | None = None
    node: Amount | None = None
    download: Amount | None = None
    downloads: Amount | None = None
    waiting: Amount = 0
    waited_seconds: Measured = 0.0
    """That requests have waited in all, since the agent's start."""


class MemoryStatus(Message):
    """Bytes: held by uploads, their bound, and what the node has free and in all."""

    reserved: Amount
    limit: Amount
    available: Amount
    total: Amount
    agent_rss: Amount

    @computed_field  # type: ignore[prop-decorator]
    @property
    def percent(self) -> float:
        """Of the node's memory: used."""
        return used_percent(self.available, self.total)


class InodeStatus(Message):
    """Inodes of the data filesystem, like its bytes; a `total` of 0 stands for no bound."""

    free: Amount = 0
    total: Amount = 0
    reserved: Amount = 0
    kept_free: Amount = 0

    @property
    def spare(self) -> int:
        """What a new upload may have."""
        return self.free - self.reserved - self.kept_free


class FilesystemStatus(Message):
    """The data filesystem: its type, and what it lacks that others stand in for."""

    kind: Label
    lacks: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)


class DiskStatus(Message):
    """Bytes on the data filesystem; `reserved` is promised to running uploads, not yet written."""

    free: Amount
    total: Amount
    reserved: Amount
    kept_free: Amount
    inodes: InodeStatus = InodeStatus()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def used(self) -> int:
        """Bytes that are not free."""
        return max(0, self.total - self.free)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def percent(self) -> float:
        """Of the filesystem: used."""
        return used_percent(self.free, self.total)


class FailedUpload(Message):
    """A request that brought bytes of a file and ended with a problem."""

    at: Moment
    way: Label
    """How it was sent: `form`, `put`, `tus`, `ietf` or `replicate`."""
    problem: Label
    """The problem's slug."""
    request_id: Label | None = None
    """With it the log says more."""


class PublicStatus(Message):
    """What `GET /api/v1/system/upload-status` tells anybody: whether to come, and how full it is.

    A node that is only full of files is `accepting` all the same, for it needs nobody's look.
    """

    node_id: Label
    accepting: bool
    slots: SlotStatus

    @computed_field  # type: ignore[prop-decorator]
    @property
    def active_uploads(self) -> int:
        """Slots in use."""
        return self.slots.used

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_concurrent(self) -> int:
        """Slots that there are."""
        return self.slots.limit


class UploadStatus(PublicStatus):
    """What it tells those who may read metrics: the very numbers that admission decides by.

    `shortages` are why every upload is refused with 507 until there is room.
    """

    version: Name
    reasons: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)
    shortages: tuple[Prose, ...] = Field(default=(), max_length=MOST_REASONS, fail_fast=True)
    bandwidth: BandwidthStatus = BandwidthStatus()
    memory: MemoryStatus
    disk: DiskStatus
    filesystem: FilesystemStatus | None = None
    committed: Amount
    failures: dict[Label, Amount] = Field(max_length=MOST_PROBLEMS)
    recent_failures: tuple[FailedUpload, ...] = Field(
        default=(), max_length=MOST_FAILURES, fail_fast=True
    )
    """The newest first, since the agent's start."""


class ToldStatus(RootModel[UploadStatus | PublicStatus]):
    """Either, as `GET /api/v1/system/upload-status` answers."""


class Readiness(Message):
    """`GET /health/ready`: `reasons` speak against uploads, `warnings` are for an operator."""

    ready: bool
    reasons: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)
    warnings: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)
