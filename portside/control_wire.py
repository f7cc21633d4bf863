"""What travels between nodes, the control plane and apps: heartbeats, leases, sessions, the roster.

The same models are used by who sends and who receives. Times are UTC; sizes are bytes, durations
seconds. What a node claims of itself travels under its own signature (`heartbeat+jwt`).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from portside.tokens import PublicKey
from portside.wire import FileId, Layout, Sha256, TokenId

NodeState = Literal["active", "readonly", "draining", "down", "retired"]
Tier = Literal["hot", "warm", "cold"]

_MEDIA_TYPE = r"^[A-Za-z0-9_.+-]{1,63}/[A-Za-z0-9_.+-]{1,63}$"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True)


class RosterNode(_Message):
    """One storage node as every other one knows it."""

    node_id: str
    public_base_url: str
    upload_api_url: str
    region: str | None = None
    weight: int = 1
    tier: Tier = "hot"
    state: NodeState = "active"
    key: PublicKey


class Roster(_Message):
    """Who belongs to the cluster: `/etc/portside/roster.json`, and in each heartbeat's answer.

    A higher `version` replaces a lower one.
    """

    version: int = 0
    cluster: str
    control_url: str | None = None
    factor: int = 1
    nodes: tuple[RosterNode, ...] = ()

    def find(self, node_id: str) -> RosterNode | None:
        """The node with this id."""
        return next((node for node in self.nodes if node.node_id == node_id), None)


class WorkDone(_Message):
    """How a lease ended on the node that had it."""

    lease_id: str
    outcome: Literal["done", "failed", "missing"]
    """`missing`: the file isn't on the node that was to send or to delete it."""
    detail: str = Field(default="", max_length=500)
    receipt: str | None = None
    """The target's receipt, for `replicate`: without it the copy doesn't count."""


WhyGone = Literal["deleted", "damaged"]

MOST_GONE = 500
"""Files in one heartbeat that are gone."""


class GoneFile(_Message):
    """A file of which the node has no good copy any more.

    `deleted`: for good, at the node's own API, or as leased. `damaged`: in quarantine.
    """

    file_id: FileId
    why: WhyGone


class Heartbeat(_Message):
    """A node's state, every 15 seconds. Bytes, seconds; counters since the agent's start."""

    node_id: str
    sent_at: AwareDatetime
    version: str
    disk_free: int
    disk_total: int
    disk_reserved: int
    """Of `disk_free`: promised to uploads under way, or kept free whatever comes."""
    iops: float
    memory_available: int
    memory_total: int
    load: float
    active_uploads: int
    upload_slots: int
    accepting: bool
    reasons: tuple[str, ...] = ()
    files: int
    stored_bytes: int
    replication_waiting: int
    replication_oldest: float
    """Seconds that the oldest waiting push has waited; 0 when none waits."""
    scrub_damaged: int
    """Damaged files in quarantine."""
    scrub_oldest: float
    """Seconds since the reading of the file that was read longest ago."""
    inventory: str
    """The digest over the ids of all committed files: see `portside.inventory`."""
    roster_version: int
    work: tuple[WorkDone, ...] = ()
    gone: tuple[GoneFile, ...] = Field(default=(), max_length=MOST_GONE)
    """The oldest first; each until a heartbeat that told it was answered."""


class Lease(_Message):
    """Work for one node, until a moment; then it may be given to it again."""

    lease_id: str
    kind: Literal["replicate", "delete"]
    file_id: FileId
    path: PurePosixPath
    size: int = Field(ge=0)
    sha256: Sha256
    target: str | None = None
    """The node to copy to, for `replicate`."""
    until: AwareDatetime
    bytes_per_second: int | None = None
    tombstone: bool = True
    """For `delete`: whether the file is deleted for good, or only this copy of it is not wanted.

    Without a tombstone the same file may come back to this node one day.
    """


class HeartbeatAnswer(_Message):
    """What the control plane has for a node."""

    now: AwareDatetime
    roster: Roster | None = None
    """None when the node's is the newest."""
    revoked: tuple[TokenId, ...] = ()
    work: tuple[Lease, ...] = ()
    next_in: float = 15.0


class SessionRequest(_Message):
    """An app's wish to have a file uploaded: `POST /api/v1/upload/sessions`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str = Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    name: str | None = Field(default=None, min_length=1, max_length=1024)
    namespace: str = Field(default="files", pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    layout: Layout = "dated"
    size: int | None = Field(default=None, ge=0, lt=2**62)
    max_size: int | None = Field(default=None, gt=0, lt=2**62)
    sha256: Sha256 | None = None
    content_type: str | None = Field(default=None, pattern=_MEDIA_TYPE)
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,32}$")
    client_address: str | None = Field(default=None, max_length=64)
    avoid: tuple[str, ...] = Field(default=(), max_length=16)
    """Nodes that the uploader couldn't reach just now: others come first."""


class Session(_Message):
    """Where a file may be uploaded, and the token that allows it."""

    session_id: TokenId
    file_id: FileId
    node_id: str
    upload_api_url: str
    resumable_url: str
    token: str
    expires_at: datetime
    session_deadline: datetime
    replicas: tuple[str, ...]


class CopyView(_Message):
    """One copy of a file."""

    node_id: str
    url: str
    state: Literal["present", "copying", "lost", "deleting"]


class FileView(_Message):
    """A file as the cluster knows it. `safe` means as many copies as the factor asks for."""

    file_id: FileId
    session_id: TokenId | None
    state: Literal["uploading", "committed", "replicating", "safe", "deleted", "lost"]
    namespace: str
    owner: str
    name: str | None
    path: PurePosixPath | None
    size: int | None
    sha256: Sha256 | None
    content_type: str | None
    committed_at: datetime | None
    copies: tuple[CopyView, ...] = ()


class FileViews(_Message):
    """Files, newest first. `next` is the cursor of the page behind this one, None on the last."""

    files: tuple[FileView, ...]
    next: str | None = None


class FileReceipt(_Message):
    """A node's receipt, from whoever has it: `POST /api/v1/files`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    receipt: str = Field(min_length=1, max_length=8192)


class FileUrl(_Message):
    """Where a copy of a file is served from now: `GET /api/v1/files/<id>/url` as JSON."""

    file_id: FileId
    node_id: str
    url: str
    expires_at: datetime | None = None
    """When the URL's token ends; None for public files."""


class UploadServer(_Message):
    """The node that an upload would go to now: `GET /api/v1/upload/server`."""

    node_id: str
    pool_id: str
    public_base_url: str
    upload_api_url: str
    resumable_url: str


class Holding(_Message):
    """What a node keeps, and while it drains how much of it is left."""

    files: int
    bytes: int
    waiting: int
    """Copies ordered from here to other nodes that haven't arrived yet."""
    open_sessions: int
    """Uploads that may still come in: what they bring is copied away as well."""


class NodeView(_Message):
    """A node as the control plane knows it. `reasons` say why it gets no uploads now."""

    node_id: str
    state: NodeState
    healthy: bool
    reasons: tuple[str, ...]
    public_base_url: str
    upload_api_url: str
    region: str | None
    weight: int
    tier: Tier
    heard_at: datetime | None
    down_since: datetime | None
    reserved: int
    """Bytes promised to open sessions."""
    open_sessions: int
    heartbeat: Heartbeat | None
    holding: Holding | None = None
    """With `GET /api/v1/nodes/<id>` only."""


class NodeViews(_Message):
    """Every node."""

    nodes: tuple[NodeView, ...]


class NodeStateRequest(_Message):
    """An operator's wish: `POST /api/v1/nodes/<id>/state`. `down` comes and goes by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["active", "readonly", "draining", "retired"]
    force: bool = False
    """For `retired`: although the node still has copies, for it is lost."""


_URL = r"^https?://[!-~]{1,500}$"


class PoolSettings(_Message):
    """What an operator sets of a pool: `PUT /api/v1/pools/<id>`. None is "as the node's"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    public_base_url: str | None = Field(default=None, pattern=_URL)
    upload_api_url: str | None = Field(default=None, pattern=_URL)
    region: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,32}$")
    weight: int | None = Field(default=None, ge=0, le=1000)
    """None or as the node's; 0: nothing new is placed here."""
    tier: Tier | None = None
    priority: int = Field(default=0, ge=-1000, le=1000)
    """The higher comes first, within a tier."""
    capacity: int | None = Field(default=None, gt=0, lt=2**62)
    """Bytes that may be stored and promised here; None is what the disk holds."""
    is_upload_target: bool = True


class NewPool(PoolSettings):
    """A place on a node: `POST /api/v1/pools`. Each node has one of its own id."""

    pool_id: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    node_id: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")


class PoolView(_Message):
    """A pool with its settings in force."""

    pool_id: str
    node_id: str
    public_base_url: str
    upload_api_url: str
    region: str | None
    weight: int
    tier: Tier
    priority: int
    capacity: int | None
    is_upload_target: bool
    occupied: int
    """Bytes stored and promised here."""
    health: Literal["healthy", "unhealthy"]


class PoolViews(_Message):
    """Every pool."""

    pools: tuple[PoolView, ...]


_POOL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"

MoveState = Literal["planned", "running", "paused", "cancelled", "done", "failed"]


class MoveRequest(_Message):
    """Files that are to go elsewhere: `POST /api/v1/moves`.

    A `move` takes what the filter fits from pool `source` to pool `target`. A `rebalance` takes
    files from the fullest nodes to those that placement chooses, until each is within half of
    `band` of the mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["move", "rebalance"] = "move"
    source: str | None = Field(default=None, pattern=_POOL)
    target: str | None = Field(default=None, pattern=_POOL)
    namespace: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    owner: str | None = Field(default=None, pattern=r"^[^\x00-\x1f\x7f]{1,128}$")
    older_than: int | None = Field(default=None, ge=0, le=10**10)
    """Seconds since the file was committed."""
    min_size: int | None = Field(default=None, ge=0, lt=2**62)
    bytes_per_second: int | None = Field(default=None, ge=1, lt=2**62)
    """All pushes of the move together; None is as fast as the nodes are."""
    hours: str | None = Field(default=None, max_length=11)
    """The part of the day (UTC) in which copies are ordered: `22:00-06:00`."""
    band: float = Field(default=0.1, ge=0.01, le=1)
    """For a rebalance: how far apart the nodes' used shares may be, from 0 to 1."""
    dry_run: bool = False

    @model_validator(mode="after")
    def _complete(self) -> MoveRequest:
        named = (self.source is not None, self.target is not None)
        if self.kind == "move" and named != (True, True):
            raise ValueError("a move needs a 'source' and a 'target'")
        if self.kind == "rebalance" and named != (False, False):
            raise ValueError("a rebalance finds 'source' and 'target' by itself: leave them out")
        return self


class MovePlan(_Message):
    """What a move would do, as of now: the answer to a dry run and part of each move's view."""

    files: int
    bytes: int
    already_there: int
    """Of `files`: the target has them, so that only the reference switches."""
    conflicts: int
    """Of `files`: the target has another file on the same path, so that they are skipped."""
    target_free: int | None
    """Bytes that the target can take; None where placement chooses."""
    fits: bool
    reachable: bool
    """Whether source and target were heard of lately."""
    obstacles: tuple[str, ...]
    """What speaks against starting now, in words for people; empty when nothing does."""


class MoveProgress(_Message):
    """How far a move is. Each file is in one of `waiting`, `done`, `failed`, `skipped` at the end.

    `planned` is what was there at the start: files that come or go meanwhile make the difference.
    """

    planned: int
    planned_bytes: int
    copying: int
    waiting: int
    """Copied, but the source's copy stays until enough other good ones are there."""
    done: int
    done_bytes: int
    failed: int
    failed_bytes: int
    skipped: int
    skipped_bytes: int


class MoveReport(_Message):
    """A file that a move didn't move, and why."""

    file_id: FileId
    outcome: Literal["failed", "skipped", "waiting"]
    detail: str


class MoveView(_Message):
    """A move as it stands. `reports` are the first hundred; `note` says why nothing happens now."""

    move_id: str
    kind: Literal["move", "rebalance"]
    state: MoveState
    source: str | None
    target: str | None
    namespace: str | None
    owner: str | None
    older_than: int | None
    min_size: int | None
    bytes_per_second: int | None
    hours: str | None
    progress: MoveProgress
    note: str | None
    reports: tuple[MoveReport, ...] = ()
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


class MoveViews(_Message):
    """Every move, newest first."""

    moves: tuple[MoveView, ...]
