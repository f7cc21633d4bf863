"""What travels between nodes and the control plane: the roster, heartbeats, leases.

The same models are used by who sends and who receives. Times are UTC; sizes are bytes, durations
seconds. What a node claims of itself travels under its own signature (`heartbeat+jwt`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, computed_field

from portside.wire.base import Message
from portside.wire.bounds import (
    LONGEST_PATH,
    MOST_LEASES,
    MOST_NODES,
    MOST_REASONS,
    MOST_REVOKED,
    Amount,
    Fraction,
    Label,
    Measured,
    Moment,
    Name,
    StoredPath,
    Text,
    Token,
)
from portside.wire.fields import ExpiresAt, FileId, Order, Sha256, Ticket, TokenId
from portside.wire.files import HoldNote
from portside.wire.keys import MOST_KEYS, Keyset, PublicKey
from portside.wire.status import (
    INODES_PER_FILE,
    InodeStatus,
    used_percent,
)

NodeState = Literal["active", "readonly", "draining", "down", "retired"]
Tier = Literal["hot", "warm", "cold"]


class RosterNode(Message):
    """One storage node as every other one knows it."""

    node_id: Label
    public_base_url: Text
    upload_api_url: Text
    region: Label | None = None
    weight: Amount = 1
    tier: Tier = "hot"
    state: NodeState = "active"
    key: PublicKey
    """The one that signs, as far as the deploy knows."""
    other_keys: tuple[PublicKey, ...] = Field(default=(), max_length=MOST_KEYS, fail_fast=True)
    """The one that is to take its place, and those that it took the place of: these until their
    `not_after`, but for what they had signed before. Releases before this one know of none."""

    @property
    def keyset(self) -> Keyset:
        """Every key that the node's word may be signed with."""
        return Keyset(keys=(self.key, *self.other_keys))


class Roster(Message):
    """Who belongs to the cluster: `/etc/portside/roster.json`, and in each heartbeat's answer.

    A higher `version` replaces a lower one.
    """

    version: Amount = 0
    cluster: Label
    control_url: Text | None = None
    factor: Amount = 1
    nodes: tuple[RosterNode, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)

    def find(self, node_id: str) -> RosterNode | None:
        """The node with this id."""
        return next((node for node in self.nodes if node.node_id == node_id), None)


class WorkDone(Message):
    """How a lease ended on the node that had it."""

    lease_id: Label
    outcome: Literal["done", "failed", "missing"]
    """`missing`: the file isn't on the node that was to send or to delete it."""
    detail: Annotated[Text, Field(max_length=500)] = ""
    receipt: Token | None = None
    """The target's receipt, for `replicate`: without it the copy doesn't count."""


MOST_DONE = 200
"""Pieces of work whose end one heartbeat tells: with their receipts some 200 KiB, and each a
transaction of the control plane's."""

WhyGone = Literal["deleted", "damaged", "missing"]

MOST_GONE = 500
"""Files in one heartbeat that are gone."""


class GoneFile(Message):
    """A file of which the node has no good copy any more.

    `deleted`: for good, at the node's own API, or as leased. `damaged`: in quarantine. `missing`:
    asked for it, the node has looked and knows nothing of it.
    """

    file_id: FileId
    why: WhyGone
    order: Order | None = None
    """Of `deleted`: the issuer's token that asked for it. Without one it is this node's loss alone;
    older releases tell none."""
    deleted_at: Moment | None = None
    """By the node's clock: at this moment the order has to have been valid."""


MOST_CHANGES = 200
"""Changed lifetimes in one heartbeat, and in its answer: some 20 KiB."""


class LifetimeOrder(Message):
    """When a node's copy of a file is to end, by the control plane's word."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**31)
    """Rises with each change of the file."""
    expires_at: ExpiresAt | None = None


class LifetimeKept(Message):
    """A node's word that it has carried out an order, or hasn't the file (any more)."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**31)


MOST_QUARANTINED = 20
"""Damaged files that one heartbeat names; all are counted."""


class QuarantinedFile(Message):
    """A damaged file that its node keeps out of service until it is settled there."""

    file_id: FileId
    path: Annotated[Text, Field(max_length=LONGEST_PATH)]
    size: Amount = Field(lt=2**62)
    reason: Annotated[Text, Field(max_length=300)]
    """In words for people."""


MOST_HOLDS = 500
"""Files in one heartbeat that were held or released as ordered."""


MOST_BEGUN = 1000
"""Uploads under way that one heartbeat tells of: 130 KiB of ids at most."""


class HoldDone(Message):
    """A file of which an order was carried out, or that the node doesn't have."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**62)
    """That of the order."""


MOST_VERDICTS = 100
"""Scanned files in one heartbeat: some 50 KiB, and each some writes of the control plane's."""


class ScanVerdict(Message):
    """What a node's scanner made of the node's own copy of a file."""

    file_id: FileId
    sha256: Sha256
    """Of the content that was looked at."""
    held: bool
    """Whether the node serves its copy to nobody yet."""
    note: HoldNote


class CertificateStatus(Message):
    """Between which times the certificate counts that a node's nginx serves."""

    begins: Moment
    ends: Moment


class UploadCounts(Message):
    """How uploads ended on a node since its agent's start (`portside.alerting.outcomes`)."""

    committed: Amount
    failed: Amount
    """All others that came to an end, whoever's fault it was."""
    broken: Amount
    """Of these: those that the node had taken on, and failed by its own fault."""


class Heartbeat(Message):
    """A node's state, every 15 seconds. Bytes, seconds; counters since the agent's start."""

    node_id: Label
    ticket: Ticket | None = None
    """That of the last answer, which counts once: so a heartbeat is new whatever the clocks say.
    None by older releases."""
    sent_at: Moment
    """By the node's clock: by it alone the control plane knows how far that is off."""
    run: Label | None = Field(default=None, max_length=64)
    """Of the worker: another with each start. Two that take turns are two machines."""
    version: Name
    disk_free: Amount
    disk_total: Amount
    disk_reserved: Amount
    """Of `disk_free`: promised to uploads under way, or kept free whatever comes."""
    inodes: InodeStatus = InodeStatus()
    """An older release's agent tells of none, as a filesystem without a bound does."""
    iops: Measured
    memory_available: Amount
    memory_total: Amount
    load: Measured
    active_uploads: Amount
    upload_slots: Amount
    accepting: bool
    reasons: tuple[Text, ...] = Field(default=(), max_length=MOST_REASONS, fail_fast=True)
    files: Amount
    stored_bytes: Amount
    replication_waiting: Amount
    replication_oldest: Measured
    """Seconds that the oldest waiting push has waited; 0 when none waits."""
    scrub_damaged: Amount
    """Damaged files in quarantine."""
    quarantined: tuple[QuarantinedFile, ...] = Field(
        default=(), max_length=MOST_QUARANTINED, fail_fast=True
    )
    """The first of them, by their ids."""
    scrub_oldest: Measured
    """Seconds since the reading of the file that was read longest ago."""
    inventory: Label
    """The digest over the ids of all committed files: see `portside.inventory`."""
    roster_version: Amount
    uploads: UploadCounts | None = None
    """None by older releases, and without the web side's word."""
    certificate: CertificateStatus | None = None
    """None by older releases, and while nginx shows none."""
    work: tuple[WorkDone, ...] = Field(default=(), max_length=MOST_DONE, fail_fast=True)
    gone: tuple[GoneFile, ...] = Field(default=(), max_length=MOST_GONE, fail_fast=True)
    """The oldest first; each until a heartbeat that told it was answered."""
    lifetimes: tuple[LifetimeKept, ...] = Field(default=(), max_length=MOST_CHANGES, fail_fast=True)
    """Orders of the last answer that are carried out."""
    holds: tuple[HoldDone, ...] = Field(default=(), max_length=MOST_HOLDS, fail_fast=True)
    """Each until a heartbeat that told it was answered. None by older releases."""
    begun: tuple[TokenId, ...] | None = Field(default=None, max_length=MOST_BEGUN, fail_fast=True)
    """The ids of all tokens whose uploads have bytes here and aren't stored. None where nobody can
    say: by older releases, without the web side's word, and of more than fit."""
    verdicts: tuple[ScanVerdict, ...] = Field(default=(), max_length=MOST_VERDICTS, fail_fast=True)
    """Each until an answer says that it was heard."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def used_percent(self) -> float:
        """Of the data filesystem: used."""
        return used_percent(self.disk_free, self.disk_total)

    @property
    def disk_withheld(self) -> int:
        """Of `disk_free`: what no new file gets. Where it would find no inode that is all of it,
        and one byte more: an empty file has no room either.
        """
        if self.inodes.total and self.inodes.spare < INODES_PER_FILE:
            return self.disk_free + 1
        return self.disk_reserved


class Lease(Message):
    """Work for one node, until a moment; then it may be given to it again."""

    lease_id: Label
    kind: Literal["replicate", "delete"]
    file_id: FileId
    path: StoredPath
    size: Amount
    sha256: Sha256
    target: Label | None = None
    """The node to copy to, for `replicate`."""
    until: Moment
    bytes_per_second: Amount | None = None
    tombstone: bool = True
    """For `delete`: whether the file is deleted for good, or only this copy of it is not wanted.

    Without a tombstone the same file may come back to this node one day.
    """
    order: Order | None = None
    """For `delete` with a tombstone: what proves later that the deletion was asked for, an
    `access+jwt` of the control plane's own for this file on this node. For `replicate`: what lets
    the target take the copy, an `order+jwt`. None by older releases."""


class NodeHold(Message):
    """An order to hold a file or to release it. It comes again until its version is confirmed."""

    file_id: FileId
    version: int = Field(ge=0, lt=2**62)
    held: bool
    note: HoldNote | None = None
    """Why, by whom and when, if that is known."""


class HeartbeatAnswer(Message):
    """What the control plane has for a node."""

    now: Moment
    taken: bool = True
    """Whether the heartbeat counted. It didn't, and changed nothing, when its ticket wasn't the
    last one: it is to be sent again at once, with this one."""
    ticket: Ticket | None = None
    """For the next heartbeat; None by older releases."""
    roster: Roster | None = None
    """None when the node's is the newest."""
    revoked: tuple[TokenId, ...] = Field(default=(), max_length=MOST_REVOKED, fail_fast=True)
    work: tuple[Lease, ...] = Field(default=(), max_length=MOST_LEASES, fail_fast=True)
    lifetimes: tuple[LifetimeOrder, ...] = Field(
        default=(), max_length=MOST_CHANGES, fail_fast=True
    )
    """When copies here are to end from now on: each comes until the node says that it is kept."""
    holds: tuple[NodeHold, ...] = Field(default=(), max_length=MOST_HOLDS, fail_fast=True)
    verdicts: tuple[FileId, ...] = Field(default=(), max_length=MOST_VERDICTS, fail_fast=True)
    """Files whose verdict was heard: what is not among them is to be told again. None by older
    releases."""
    inventory: Sha256 | None = None
    """The digest of what the node should have: `portside.wire.inventory` says what follows."""
    learned_at: Moment | None = None
    """When a file was last taken over from a node of which nothing was known: it may have been
    deleted. Whoever knows of deletions says so (`InventoryPage.deleted`)."""
    next_in: Annotated[Fraction, Field(ge=0, le=3600)] = 15.0
