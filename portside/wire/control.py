"""What travels between apps, operators and the control plane: sessions, files, nodes, pools.

The same models are used by who sends and who receives. Times are UTC; sizes are bytes, durations
seconds. Moves are in `portside.wire.moves`, what nodes send and get in `portside.wire.heartbeat`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field

from portside.wire.base import Message, Request
from portside.wire.bounds import (
    MOST_COPIES,
    MOST_LISTED,
    MOST_NODES,
    MOST_REASONS,
    Amount,
    Fraction,
    Label,
    Moment,
    Name,
    Prose,
    StoredPath,
    Text,
    Token,
    Whole,
    number,
)
from portside.wire.fields import FileId, Layout, NodeId, PoolId, Sha256, TokenId
from portside.wire.files import HoldNote
from portside.wire.heartbeat import Heartbeat, NodeState, Tier
from portside.wire.spellings import (
    AnyAddress,
    AnyLifetime,
    AnyMediaType,
    AnyNamespace,
    AnyOwner,
    AnyRegion,
    AnySha256,
    ExactBytes,
    HttpUrl,
    MostBytes,
)
from portside.wire.status import QuotaView


class SessionRequest(Request):
    """An app's wish to have a file uploaded: `POST /api/v1/upload/sessions`.

    Values may be written as browsers, tools and people write them (`portside.wire.spellings`).
    """

    also_called: ClassVar[Mapping[str, str]] = {
        "file_size": "size",
        "filesize": "size",
        "file_name": "name",
        "filename": "name",
        "max_file_size": "max_size",
        "mime_type": "content_type",
        "file_type": "content_type",
        "user": "owner",
        "user_id": "owner",
        "owner_id": "owner",
        "client_ip": "client_address",
    }
    """As other upload services, and browsers' `File`, call them."""

    owner: AnyOwner = Field(
        description="Your app's id of its user: 1 to 128 characters of any script, or a number."
    )
    # Which characters a name has is said with all that is wrong with it (portside/names.py).
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="The file's name alone, without a path: 1 to 1024 characters.",
    )
    namespace: AnyNamespace = Field(
        default="files", description="The first part of the file's path: what policies are for."
    )
    layout: Layout = Field(
        default="dated",
        description="`dated`: a path of its own. `named`: `<namespace>/<name>`, known before.",
    )
    size: ExactBytes | None = Field(
        default=None,
        description="The file's bytes, as 10485760 or `4GiB`. Without it say `max_size`.",
    )
    max_size: MostBytes | None = Field(default=None, description="The most bytes that it may have.")
    sha256: AnySha256 | None = Field(
        default=None, description="What its content must be: hex or base64 of its SHA-256."
    )
    content_type: AnyMediaType = Field(
        default=None,
        description="Its media type. Parameters aren't kept; empty, the node goes by the name.",
    )
    region: AnyRegion = Field(
        default=None,
        description="The region that is preferred: letters, digits and '-', at most 32 of them.",
    )
    client_address: AnyAddress = Field(
        default=None,
        description="The uploader's IP address, by which sessions are then limited too.",
    )
    expires_in: AnyLifetime | None = Field(
        default=None,
        description="Seconds from its commit after which the file ends by itself, also as `30d`.",
    )
    avoid: tuple[NodeId, ...] = Field(
        default=(),
        max_length=16,
        fail_fast=True,
        description="Ids of nodes that the uploader couldn't reach just now: others come first.",
    )
    node_id: NodeId | None = Field(
        default=None,
        description="The id of the one node that it is to go to; without it placement chooses.",
    )
    hold: bool = Field(
        default=False,
        description="That the file is served to nobody until it is released.",
    )


class Session(Message):
    """Where a file may be uploaded, and the token that allows it.

    What an older control plane doesn't tell is None.
    """

    session_id: TokenId
    file_id: FileId
    node_id: Label
    pool_id: Label | None = None
    region: Label | None = None
    """The pool's: another one than was asked for where that had no room."""
    upload_url: Text | None = None
    """Where the file is sent to in one request."""
    upload_api_url: Text
    """The same by its earlier name."""
    resumable_url: Text
    """Where it is sent to in pieces: tus, or the IETF's resumable uploads."""
    token: Token
    expires_at: Moment
    """Until when the upload must begin."""
    session_deadline: Moment
    """Until when it must end."""
    replicas: tuple[Label, ...] = Field(max_length=MOST_COPIES, fail_fast=True)
    name: Name | None = None
    """The one that the file will have: what was asked for, made safe. None: the uploader says."""
    path: StoredPath | None = None
    """Below `uploads/` of its nodes, where that is known before: with the layout `named`."""
    content_type: Name | None = None
    """The one that the file will have; None: the node goes by its name."""
    url: Text | None = None
    """Where the file will be found once it is stored, wherever it is."""
    expires_in: Amount | None = None
    """Seconds from its commit after which the file ends; None: it stays."""
    max_size: Amount | None = None
    """The most bytes that a file of unknown size may have: as asked for, or as quotas leave."""
    quota: QuotaView | None = None
    """What the file's owner has by now, and may have."""


class CopyView(Message):
    """One copy of a file."""

    node_id: Label
    url: Text
    """The copy's own: dead once it is moved or its node is retired."""
    state: Literal["present", "copying", "lost", "deleting"]


class FileView(Message):
    """A file as the cluster knows it. `safe` means as many copies as the factor asks for."""

    file_id: FileId
    session_id: TokenId | None
    state: Literal["uploading", "committed", "replicating", "safe", "expired", "deleted", "lost"]
    """`expired`: its time is over, and its bytes are kept for the grace."""
    namespace: Label
    owner: Name
    name: Name | None
    path: StoredPath | None
    size: Amount | None
    sha256: Sha256 | None
    content_type: Name | None
    committed_at: Moment | None
    copies: tuple[CopyView, ...] = Field(default=(), max_length=MOST_COPIES, fail_fast=True)
    url: Text | None = None
    """The one that lasts: it finds the file wherever it is. An older control plane tells none."""
    expires_at: Moment | None = None
    """When it ends by itself, or has ended; None: it stays."""
    held: bool = False
    """Served to nobody until it is released."""
    hold: HoldNote | None = None
    """Of the last time that it was held or released by request."""
    hold_waits_for: tuple[Label, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)
    """Nodes that haven't confirmed yet that it is held, or released."""


class FileViews(Message):
    """Files, newest first. `next` is the cursor of the page behind this one, None on the last."""

    files: tuple[FileView, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    next: Name | None = None


class FileReceipt(Request):
    """A node's receipt, from whoever has it: `POST /api/v1/files`."""

    receipt: Token = Field(min_length=1)


class FileUrl(Message):
    """Where a copy of a file is served from now: `GET /api/v1/files/<id>/url` as JSON."""

    file_id: FileId
    node_id: Label
    url: Text
    expires_at: Moment | None = None
    """When the URL's token ends; None for public files."""


class UploadServer(Message):
    """The node that an upload would go to now: `GET /api/v1/upload/server`."""

    node_id: Label
    pool_id: Label
    region: Label | None = None
    public_base_url: Text
    upload_url: Text | None = None
    upload_api_url: Text
    """The same by its earlier name."""
    resumable_url: Text


class Holding(Message):
    """What a node keeps, and while it drains how much of it is left."""

    files: Whole
    bytes: Whole
    waiting: Whole
    """Copies ordered from here to other nodes that haven't arrived yet."""
    open_sessions: Whole
    """Uploads that may still come in: what they bring is copied away as well."""


class DrainProgress(Message):
    """How far a drain is, as of now."""

    since: Moment
    files_left: Whole
    bytes_left: Whole
    files_gone: Whole
    """Copied to other nodes and removed here since then; so are `bytes_gone`."""
    bytes_gone: Whole
    copying: Whole
    """Copies of its files that are on their way to other nodes."""
    bytes_per_second: Whole | None
    """Over the last minutes; None before anything has gone."""
    seconds_left: Whole | None
    """At that rate."""
    blocked: tuple[Prose, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    """What keeps files from going on, in words for people; of the first of them."""
    not_yet: tuple[Prose, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    """Why it can't be retired yet, in words for people."""
    drained: bool
    """Nothing is left, by the node's own word too: it may be retired."""


class NodeView(Message):
    """A node as the control plane knows it. `reasons` say why it gets no uploads now."""

    node_id: Label
    state: NodeState
    healthy: bool
    reasons: tuple[Prose, ...] = Field(max_length=MOST_REASONS, fail_fast=True)
    public_base_url: Text
    upload_api_url: Text
    region: Label | None
    weight: Whole
    tier: Tier
    heard_at: Moment | None
    down_since: Moment | None
    clock_skew: Fraction | None = None
    """Seconds by which its clock was ahead of the control plane's at its last heartbeat."""
    reserved: Whole
    """Bytes promised to open sessions."""
    open_sessions: Whole
    heartbeat: Heartbeat | None
    """Its last one, for `admin` alone."""
    holding: Holding | None = None
    """With `GET /api/v1/nodes/<id>` only."""
    drain: DrainProgress | None = None
    """While it drains."""


class NodeViews(Message):
    """Every node."""

    nodes: tuple[NodeView, ...] = Field(max_length=MOST_NODES, fail_fast=True)


class ShortFiles(Message):
    """Files that have so many good copies, and should have more."""

    present: Whole
    files: Whole
    bytes: Whole


class RepairView(Message):
    """What repair has to do: `GET /api/v1/repair`."""

    short: tuple[ShortFiles, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    """Those with the fewest copies first."""
    waiting: Whole
    """Copies that are ordered, and no node has begun."""
    leased: Whole
    """Copies that nodes are making."""
    failing: Whole
    """Of both: those that have failed before."""
    oldest: Moment | None
    """When the oldest of these orders was given."""
    given_up: tuple[Label, ...] = Field(max_length=MOST_NODES, fail_fast=True)
    """Nodes whose copies aren't waited for any more."""
    blocked: tuple[Prose, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    """What keeps files from being copied, in words for people; of the first of them."""


class NodeStateRequest(Request):
    """An operator's wish: `POST /api/v1/nodes/<id>/state`. `down` comes and goes by itself."""

    state: Literal["active", "readonly", "draining", "retired"]
    force: bool = False
    """For `retired`: although the node still has copies, for it is lost."""


class PoolSettings(Request):
    """What an operator sets of a pool: `PUT /api/v1/pools/<id>`. None is "as the node's"."""

    public_base_url: HttpUrl | None = Field(
        default=None, description="Where files are served from: an http(s) URL."
    )
    upload_api_url: HttpUrl | None = Field(
        default=None, description="Where uploads are sent: an http(s) URL."
    )
    region: AnyRegion = Field(
        default=None, description="Where it is: letters, digits and '-', at most 32 of them."
    )
    weight: Annotated[int, Field(ge=0, le=1000), BeforeValidator(number)] | None = None
    """None or as the node's; 0: nothing new is placed here."""
    tier: Tier | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000), BeforeValidator(number)] = 0
    """The higher comes first, within a tier."""
    capacity: MostBytes | None = None
    """Bytes that may be stored and promised here; None is what the disk holds."""
    is_upload_target: bool = True


_LABEL = "lower-case letters, digits and '-' within, at most 63 of them"


class NewPool(PoolSettings):
    """A place on a node: `POST /api/v1/pools`. Each node has one of its own id."""

    pool_id: PoolId = Field(description=f"The pool's name: {_LABEL}.")
    node_id: NodeId = Field(description=f"The node's id: {_LABEL}.")


class PoolView(Message):
    """A pool with its settings in force."""

    pool_id: Label
    node_id: Label
    public_base_url: Text
    upload_api_url: Text
    region: Label | None
    weight: Whole
    tier: Tier
    priority: Whole
    capacity: Whole | None
    is_upload_target: bool
    occupied: Whole
    """Bytes stored and promised here."""
    health: Literal["healthy", "unhealthy"]


class PoolViews(Message):
    """Every pool."""

    pools: tuple[PoolView, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
