"""What a node says of itself: what admission decides by, and whether it is ready; what owners and
apps have and may have.

Some numbers are told twice, under the names that monitoring of other upload servers asks for:
`active_uploads`, `max_concurrent`, `used`, `percent`. They are worked out from the others.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, RootModel, computed_field

from portside.wire.base import Message, Request
from portside.wire.bounds import (
    MOST_LISTED,
    MOST_REASONS,
    Amount,
    Label,
    Measured,
    Moment,
    Name,
    Prose,
    number,
)
from portside.wire.fields import AppId, Owner, TokenId
from portside.wire.spellings import ExactBytes

INODES_TO_COMMIT = 6
"""Of a file that is in staging: its attributes, and the folders of its namespace and hour."""

INODES_PER_FILE = 1 + INODES_TO_COMMIT

MOST_PROBLEMS = 256
"""Kinds of problems: there are some sixty."""

MOST_FAILURES = 50
"""Failed uploads that are told."""


MOST_UNDER_WAY = 10_000
"""Requests that bring bytes at a time: many times the slots of the largest node."""


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
    under_way: tuple[TokenId, ...] | None = Field(
        default=None, max_length=MOST_UNDER_WAY, fail_fast=True
    )
    """The ids of tokens for which bytes are coming; None where an agent doesn't tell."""


class ToldStatus(RootModel[UploadStatus | PublicStatus]):
    """Either, as `GET /api/v1/system/upload-status` answers."""


class Readiness(Message):
    """`GET /health/ready`: `reasons` speak against uploads, `warnings` are for an operator."""

    ready: bool
    reasons: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)
    warnings: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)


class Share(Message):
    """How much there is of what may be, in bytes or in files."""

    limit: Amount | None
    """None: there is no limit."""
    used: Amount
    """Stored, or promised to open uploads."""
    left: Amount | None
    """What may still be asked for; None: there is no limit."""


class QuotaView(Message):
    """What an owner has and may have, as a session's answer tells it: that session included.

    `left` is also no more than what is left to all owners of the app together.
    """

    bytes: Share
    files: Share


class CountedShare(Share):
    """The same as those see it who look after it."""

    promised: Amount
    """Of what is used: not stored yet."""


class UsageView(Message):
    """What an owner has, or an app."""

    app_id: Label | None
    """None: of tokens that another issuer minted."""
    owner: Name | None
    """None: every owner of the app together."""
    bytes: CountedShare
    files: CountedShare


class UsageViews(Message):
    """Who has what, those with the most bytes first. `next` is the cursor of the next page."""

    usage: tuple[UsageView, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    next: Name | None = None


class UsageQuery(Request):
    """What `GET /api/v1/usage` is asked for."""

    of: Literal["owners", "apps"] = Field(
        default="owners", description="Each owner of each app, or each app."
    )
    owner: Owner | None = Field(default=None, description="Only of this owner.")
    app: AppId | None = Field(default=None, description="Only of this app.")
    limit: Annotated[int, Field(ge=1, le=1000), BeforeValidator(number)] = Field(
        default=100, description="The most lines of a page."
    )
    cursor: Annotated[Name, Field(max_length=1024)] | None = Field(
        default=None, description="The `next` of the page before."
    )


_MostFiles = Annotated[int, Field(ge=0, lt=2**62), BeforeValidator(number)]


class QuotaWish(Request):
    """What an owner or an app may have from now on: `PUT /api/v1/quotas/owners/<owner>`.

    Null is no limit; what is left out is as the cluster file has it.
    """

    bytes: ExactBytes | None = Field(
        default=None, description="Bytes, as 10485760 or `10GiB`; null: no limit."
    )
    files: _MostFiles | None = Field(default=None, description="Files; null: no limit.")


class QuotaInForce(Message):
    """What an owner or an app may have; None is no limit."""

    kind: Literal["owner", "app"]
    name: Name
    bytes: Amount | None
    files: Amount | None
    set: tuple[Literal["bytes", "files"], ...] = Field(default=(), max_length=2, fail_fast=True)
    """What of it was set at run time; the rest is as the cluster file has it."""
