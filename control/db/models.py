"""What the control plane remembers, as tables (SQLite and PostgreSQL alike).

Bytes and counts are BIGINT, moments are Unix microseconds in UTC, so that both databases compare
and index them the same way. Running counters (`Pool.reserved`, `Pool.open_sessions`,
`Pool.stored`, `File.present`) change only by `UPDATE ... SET x = x + ?` in the very transaction
that changes the row they count, and so do those of `Usage`; `control.catalogue.counters` counts
them again.

Who locks several rows in one transaction takes them in this order: node, file, copies, session,
work, pools (by id), orders to hold, and usage at the transaction's very end
(`control.catalogue.usage`). So two transactions never wait for each other in a circle.
For a file of which no receipt was seen there is no row to lock: its session's stands for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from portside.inventory import EMPTY

WantedState = Literal["active", "readonly", "draining", "retired"]
"""What an operator wants of a node; `down` is worked out (`control.cluster.node_states`)."""

SessionState = Literal["open", "committed", "expired"]
FileState = Literal["committed", "deleting", "deleted", "lost"]
CopyState = Literal["present", "copying", "deleting", "lost", "gone"]
"""`gone`: deleted as ordered. The row stays, so that an old receipt can't bring it back."""
LostAs = Literal["away", "missing"]
WorkKind = Literal["replicate", "delete"]
WorkReason = Literal["repair", "drain", "move", "delete", "rebalance"]
WorkState = Literal["waiting", "leased", "done", "failed", "missing"]
MoveState = Literal["planned", "running", "paused", "cancelled", "done"]
OPEN_MOVE_STATES: tuple[MoveState, ...] = ("planned", "running", "paused")
"""A move in one of these keeps its source to itself."""
MoveFileState = Literal["copying", "waiting", "switched", "failed", "skipped"]
"""`waiting`: copied, but the source's copy is still needed. `switched`: moved, not counted yet."""
QuotaKind = Literal["owner", "app"]
AlertChannel = Literal["webhook", "mail"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Moment(TypeDecorator[datetime]):
    """A moment in UTC, kept as Unix microseconds."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        """To the database. Raises TypeError for a moment without a time zone."""
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        return None if value is None else moment(value)


def moment(microseconds: int) -> datetime:
    """What a `Moment` of the database stands for."""
    return _EPOCH + microseconds * _MICROSECOND


class Base(DeclarativeBase):
    """Every table; names of constraints are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: Moment(),
        int: BigInteger(),
        str: Text(),
        bool: Boolean(),
        float: Float(),
    }


def _one_of(column: str, kinds: object) -> CheckConstraint:
    listed = ", ".join(f"'{kind}'" for kind in get_args(kinds))
    return CheckConstraint(f"{column} IN ({listed})", name=column)


class ClusterState(Base):
    """The one row of what belongs to the whole cluster."""

    __tablename__ = "cluster_state"

    state_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=1)
    roster_version: Mapped[int] = mapped_column(default=0)
    """Of the roster in force; rises with each change, here or by a deploy."""
    deployed_version: Mapped[int] = mapped_column(default=0)
    """Of the roster file that was taken over last."""
    rounds_at: Mapped[datetime | None]
    """When a worker last went its round."""
    listening_since: Mapped[datetime | None]
    """Since when heartbeats could come in: silence before it doesn't speak against a node."""
    learned_at: Mapped[datetime | None]
    """When a file was last taken over from a node of which nothing was known here."""


class App(Base):
    """Who may ask for sessions and files. The key itself is nowhere, only its SHA-256."""

    __tablename__ = "apps"

    app_id: Mapped[str] = mapped_column(primary_key=True)
    key_sha256: Mapped[str] = mapped_column(unique=True)
    """Of its newest key: for a release without `ApiKey`, which answers while this one is deployed.
    """
    scopes: Mapped[list[str]] = mapped_column(JSON)
    namespaces: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    """Those that its keys are bound to; None: they aren't."""
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class ApiKey(Base):
    """A key of an app: one of two at most that count at a time."""

    __tablename__ = "api_keys"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    """The beginning of its digest: what people call it by."""
    app_id: Mapped[str] = mapped_column(ForeignKey("apps.app_id"), index=True)
    key_sha256: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    """From when it counts no more; None: it counts until somebody ends it."""
    last_used_at: Mapped[datetime | None]
    """To the hour (`control.cluster.key_use`)."""


class Node(Base):
    """A storage node: what the deploy said of it, what is wanted of it, what it last told."""

    __tablename__ = "nodes"
    __table_args__ = (_one_of("wanted", WantedState),)

    node_id: Mapped[str] = mapped_column(primary_key=True)
    public_base_url: Mapped[str]
    upload_api_url: Mapped[str]
    region: Mapped[str | None]
    weight: Mapped[int] = mapped_column(default=1)
    tier: Mapped[str] = mapped_column(default="hot")
    key: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Its public key (JWK), which signs heartbeats and receipts."""
    other_keys: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))
    """Those that count beside it: the next one, those that were rotated out."""
    in_roster: Mapped[bool] = mapped_column(default=True)
    """False once a deploy has left it out: it is answered no more."""
    wanted: Mapped[WantedState] = mapped_column(Text, default="active")
    wanted_at: Mapped[datetime]

    heard_at: Mapped[datetime | None]
    """When a heartbeat last came in, by this side's clock."""
    ticket: Mapped[str | None]
    """What the next heartbeat must bring; with each that counts there is a new one."""
    sent_at: Mapped[datetime | None]
    """The last heartbeat's own moment. Of releases without tickets it must rise."""
    clock_skew: Mapped[float | None]
    """Seconds by which the node's clock was ahead of ours at the last heartbeat."""
    down_since: Mapped[datetime | None]
    """Set by a worker's round, cleared by a heartbeat."""
    given_up_at: Mapped[datetime | None]
    """When its copies began to be counted no more; None once they all count again."""
    returned_at: Mapped[datetime | None]
    """When it came back after its copies had been given up. Those that it had before count as
    doubtful until its inventory proves that it has what we believe; None then."""
    inventory: Mapped[str] = mapped_column(default=EMPTY, server_default=EMPTY)
    """The digest of the copies that should be on it, without the rows of `inventory_changes`."""
    drain_cursor: Mapped[str | None]
    """While it drains: the last file id that was looked at; None is the beginning."""
    heartbeat: Mapped[str | None]
    """The last `Heartbeat` as JSON."""
    disk_free: Mapped[int] = mapped_column(default=0)
    disk_total: Mapped[int] = mapped_column(default=0)
    disk_reserved: Mapped[int] = mapped_column(default=0)
    active_uploads: Mapped[int] = mapped_column(default=0)
    accepting: Mapped[bool] = mapped_column(default=False)

    outside_at: Mapped[datetime | None]
    """When `upload_api_url` was last asked from here."""
    outside_problem: Mapped[str | None]
    """Why it didn't answer; None when it did."""
    failures: Mapped[int] = mapped_column(default=0)
    """In a row; each doubles the time until `avoid_until`."""
    avoid_until: Mapped[datetime | None]


class Pool(Base):
    """A place on a node. Each node has one of its own id; None is "as the node's"."""

    __tablename__ = "pools"
    __table_args__ = (
        CheckConstraint("reserved >= 0", name="reserved"),
        CheckConstraint("open_sessions >= 0", name="open_sessions"),
        CheckConstraint("stored >= 0", name="stored"),
    )

    pool_id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.node_id"), index=True)
    public_base_url: Mapped[str | None]
    upload_api_url: Mapped[str | None]
    region: Mapped[str | None]
    weight: Mapped[int | None]
    tier: Mapped[str | None]
    priority: Mapped[int] = mapped_column(default=0)
    capacity: Mapped[int | None]
    is_upload_target: Mapped[bool] = mapped_column(default=True)

    reserved: Mapped[int] = mapped_column(default=0)
    """Bytes promised to open sessions: the sum of their `reserved`."""
    open_sessions: Mapped[int] = mapped_column(default=0)
    stored: Mapped[int] = mapped_column(default=0)
    """Bytes of the copies here that are present or being deleted."""


class UploadSession(Base):
    """An upload that an app was given a token for. `reserved` is held while it is open."""

    __tablename__ = "sessions"
    __table_args__ = (
        _one_of("state", SessionState),
        # An app's second request with the same Idempotency-Key finds the first one's session.
        UniqueConstraint("app_id", "idempotency_key"),
        Index(
            "uq_sessions_open_path",
            "path",
            unique=True,
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "ix_sessions_open",
            "deadline",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        # What an owner's open sessions hold of each pool, without a look at their rows.
        Index(
            "ix_sessions_held",
            "owner",
            "app_id",
            "pool_id",
            "reserved",
            "session_id",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        # Those whose time to begin is over, for their node's word.
        Index(
            "ix_sessions_unbegun",
            "node_id",
            "expires_at",
            sqlite_where=text("state = 'open'"),
            postgresql_where=text("state = 'open'"),
        ),
        Index(
            "ix_sessions_expired",
            "deadline",
            sqlite_where=text("state = 'expired'"),
            postgresql_where=text("state = 'expired'"),
        ),
    )

    session_id: Mapped[str] = mapped_column(primary_key=True)
    """The token's `jti`."""
    app_id: Mapped[str]
    idempotency_key: Mapped[str | None]
    request_sha256: Mapped[str | None]
    """Of the request that came with the key: another one under it is a mistake."""
    owner: Mapped[str]
    file_id: Mapped[str] = mapped_column(unique=True)
    node_id: Mapped[str]
    pool_id: Mapped[str]
    replicas: Mapped[list[str]] = mapped_column(JSON)
    """Ids of the nodes that the first one copies to by itself."""
    namespace: Mapped[str]
    name: Mapped[str | None]
    layout: Mapped[str]
    size: Mapped[int | None]
    max_size: Mapped[int | None]
    sha256: Mapped[str | None]
    content_type: Mapped[str | None]
    hold: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Whether its file is to be held from the beginning."""
    reserved: Mapped[int]
    path: Mapped[str | None]
    """Where its file will be, if the layout is `named`; no other open session has it."""
    state: Mapped[SessionState] = mapped_column(Text, default="open")
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    """Until when the upload must begin."""
    deadline: Mapped[datetime]
    """Until when it may go on; then the space is given back."""
    expires_in: Mapped[int | None]
    """Seconds from its commit after which the file ends; None for one that stays."""


class Usage(Base):
    """What an owner has, as one app knows owners, and what its open sessions may still bring."""

    __tablename__ = "usage"

    app_id: Mapped[str] = mapped_column(primary_key=True)
    """Empty: files of tokens that another issuer minted."""
    owner: Mapped[str] = mapped_column(primary_key=True)
    """Empty, as no owner is: of all owners of the app together."""
    bytes: Mapped[int] = mapped_column(default=0)
    files: Mapped[int] = mapped_column(default=0)
    promised_bytes: Mapped[int] = mapped_column(default=0)
    promised_files: Mapped[int] = mapped_column(default=0)


class QuotaSetting(Base):
    """A quota that was set at run time; it stands before the cluster file's."""

    __tablename__ = "quotas"
    __table_args__ = (_one_of("kind", QuotaKind),)

    kind: Mapped[QuotaKind] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    quota: Mapped[dict[str, int | None]] = mapped_column(JSON)
    """What was said of `bytes` and `files`: None is no limit, and what is left out is as the
    cluster file has it."""


class File(Base):
    """A file of which a node's receipt was seen."""

    __tablename__ = "files"
    __table_args__ = (
        _one_of("state", FileState),
        Index("ix_files_committed_at", "committed_at", "file_id"),
        Index("ix_files_app_id", "app_id", "committed_at", "file_id"),
        Index("ix_files_namespace", "namespace", "committed_at", "file_id"),
        Index("ix_files_owner", "owner", "committed_at", "file_id"),
        # What repair looks for, and nothing else: a healthy cluster has none.
        # Name both conditions word for word as literals, or SQLite doesn't take it.
        Index(
            "ix_files_short",
            "file_id",
            sqlite_where=text("state = 'committed' AND present < factor"),
            postgresql_where=text("state = 'committed' AND present < factor"),
        ),
        # The same with the fewest copies first, and the files that have too many.
        Index(
            "ix_files_urgent",
            "present",
            "file_id",
            sqlite_where=text("state = 'committed' AND present < factor"),
            postgresql_where=text("state = 'committed' AND present < factor"),
        ),
        Index(
            "ix_files_over",
            "file_id",
            sqlite_where=text("state = 'committed' AND present > factor"),
            postgresql_where=text("state = 'committed' AND present > factor"),
        ),
        # What has come to its end, the longest over first; files that stay are not in it.
        Index(
            "ix_files_expires_at",
            "expires_at",
            "file_id",
            sqlite_where=text("state = 'committed' AND expires_at IS NOT NULL"),
            postgresql_where=text("state = 'committed' AND expires_at IS NOT NULL"),
        ),
        Index(
            "ix_files_deleting",
            "file_id",
            sqlite_where=text("state = 'deleting'"),
            postgresql_where=text("state = 'deleting'"),
        ),
        Index(
            "ix_files_vouched_by",
            "vouched_by",
            "file_id",
            sqlite_where=text("vouched_by IS NOT NULL"),
            postgresql_where=text("vouched_by IS NOT NULL"),
        ),
        # What is to be forgotten, the longest deleted first.
        Index(
            "ix_files_deleted",
            "changed_at",
            "file_id",
            sqlite_where=text("state = 'deleted'"),
            postgresql_where=text("state = 'deleted'"),
        ),
    )

    file_id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str | None]
    app_id: Mapped[str | None]
    """None for a file whose token another issuer minted."""
    namespace: Mapped[str]
    owner: Mapped[str]
    name: Mapped[str]
    path: Mapped[str] = mapped_column(index=True)
    """Below `uploads/`, the same on every node."""
    size: Mapped[int]
    sha256: Mapped[str]
    content_type: Mapped[str | None]
    committed_at: Mapped[datetime]
    state: Mapped[FileState] = mapped_column(Text, default="committed")
    factor: Mapped[int]
    """Copies that it should have."""
    present: Mapped[int] = mapped_column(default=0)
    """Copies in state `present`."""
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Nobody is sent to it until it is released."""
    hold: Mapped[str | None]
    """Why, who said so and when: the last `HoldNote` as JSON."""
    hold_version: Mapped[int] = mapped_column(default=0, server_default="0")
    """Rises each time that it is held or released here."""
    changed_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    """When it ends by itself: from then on it is served no more."""
    lifetime_version: Mapped[int] = mapped_column(default=0, server_default="0")
    """Rises with each change of `expires_at`."""
    vouched_by: Mapped[str | None]
    """The node by whose word alone it is what it is here: see `control.files.vouching`."""

    def has_ended(self, now: datetime) -> bool:
        """Whether its time is over: it is served no more, and copied no more."""
        return self.expires_at is not None and self.expires_at <= now


class Copy(Base):
    """A file on a node."""

    __tablename__ = "copies"
    __table_args__ = (
        _one_of("state", CopyState),
        # A node's files, for repair, drain and moves: by id, so that batches have a cursor.
        Index("ix_copies_node", "node_id", "state", "file_id"),
        Index(
            "ix_copies_copying",
            "since",
            sqlite_where=text("state = 'copying'"),
            postgresql_where=text("state = 'copying'"),
        ),
    )

    file_id: Mapped[str] = mapped_column(ForeignKey("files.file_id"), primary_key=True)
    node_id: Mapped[str] = mapped_column(primary_key=True)
    pool_id: Mapped[str]
    """The pool whose `stored` counts it."""
    state: Mapped[CopyState] = mapped_column(Text)
    since: Mapped[datetime]
    lost_as: Mapped[LostAs | None] = mapped_column(Text)
    """How it was lost: it comes back with its node (`away`), or the node said it has it no more."""
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Of a file that is scanned: its node has not released this very copy yet, as far as we know.
    Nobody is sent to it, whatever holds for the file."""


class LifetimeOrder(Base):
    """A copy whose node has yet to say that it ends when the file does."""

    __tablename__ = "lifetime_orders"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    file_id: Mapped[str] = mapped_column(primary_key=True)


class HoldOrder(Base):
    """A node that may have a copy hasn't confirmed yet that the file is held or released."""

    __tablename__ = "hold_orders"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    file_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    version: Mapped[int]
    """The file's, when this was ordered last."""


class InventoryChange(Base):
    """A copy that came to a node or went, not yet folded into the node's inventory digest."""

    __tablename__ = "inventory_changes"

    change_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    node_id: Mapped[str] = mapped_column(index=True)
    file_id: Mapped[str]


class Work(Base):
    """A piece of work for one node. While it is waiting or leased there is no second one alike."""

    __tablename__ = "work"
    __table_args__ = (
        _one_of("kind", WorkKind),
        _one_of("reason", WorkReason),
        _one_of("state", WorkState),
        Index(
            "uq_work_under_way",
            "kind",
            "file_id",
            "place",
            unique=True,
            sqlite_where=text("state IN ('waiting', 'leased')"),
            postgresql_where=text("state IN ('waiting', 'leased')"),
        ),
        Index(
            "ix_work_waiting",
            "node_id",
            "not_before",
            sqlite_where=text("state = 'waiting'"),
            postgresql_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_work_leased",
            "node_id",
            "leased_until",
            sqlite_where=text("state = 'leased'"),
            postgresql_where=text("state = 'leased'"),
        ),
        Index("ix_work_file", "file_id", "state"),
        Index("ix_work_move", "move_id", "state", "lease_id"),
        Index(
            "ix_work_ended",
            "ended_at",
            sqlite_where=text("ended_at IS NOT NULL"),
            postgresql_where=text("ended_at IS NOT NULL"),
        ),
    )

    lease_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[WorkKind] = mapped_column(Text)
    node_id: Mapped[str]
    """Who does it: the source of a copy, or whose copy goes."""
    file_id: Mapped[str]
    target: Mapped[str | None]
    """Where to copy to, for `replicate`."""
    place: Mapped[str]
    """The node whose copy comes or goes: `target`, or `node_id` for `delete`."""
    reason: Mapped[WorkReason] = mapped_column(Text)
    move_id: Mapped[str | None]
    tombstone: Mapped[bool] = mapped_column(default=True)
    bytes_per_second: Mapped[int | None]
    size: Mapped[int]
    state: Mapped[WorkState] = mapped_column(Text, default="waiting")
    not_before: Mapped[datetime]
    leased_until: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    detail: Mapped[str] = mapped_column(default="")
    """What went wrong last."""
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class Move(Base):
    """Files on their way from one pool to another; counts are of files, sizes of bytes."""

    __tablename__ = "moves"
    __table_args__ = (
        # No move is `failed`: its files are. The migrated constraint and index admit it.
        _one_of("state", Literal[MoveState, "failed"]),
        Index("ix_moves_state", "state", "created_at"),
        # Of two moves that begin at once from one source, the second fails here.
        Index(
            "uq_moves_open_source",
            "source_pool",
            unique=True,
            sqlite_where=text("state IN ('planned', 'running', 'paused', 'failed')"),
            postgresql_where=text("state IN ('planned', 'running', 'paused', 'failed')"),
        ),
    )

    move_id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[MoveState] = mapped_column(Text, default="planned")
    reason: Mapped[WorkReason] = mapped_column(Text, default="move")
    source_pool: Mapped[str]
    """Empty for a rebalance, which finds its sources by itself."""
    target_pool: Mapped[str | None]
    """None for a rebalance: placement chooses for each file."""
    filter: Mapped[dict[str, Any]] = mapped_column(JSON)
    cursor: Mapped[str] = mapped_column(default="")
    """The last file id that was looked at."""
    planned: Mapped[int] = mapped_column(default=0)
    planned_bytes: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    done_bytes: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    failed_bytes: Mapped[int] = mapped_column(default=0)
    skipped: Mapped[int] = mapped_column(default=0)
    skipped_bytes: Mapped[int] = mapped_column(default=0)
    bytes_per_second: Mapped[int | None]
    hours_from: Mapped[int | None]
    """The minute of the day (UTC) from which it orders copies, to `hours_until`, past midnight if
    need be."""
    hours_until: Mapped[int | None]
    error: Mapped[str | None]
    created_by: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class MoveFile(Base):
    """A file that a move has in hand or couldn't move. One that is moved is counted, not kept."""

    __tablename__ = "move_files"
    __table_args__ = (
        _one_of("state", MoveFileState),
        Index("ix_move_files_state", "move_id", "state", "file_id"),
    )

    move_id: Mapped[str] = mapped_column(ForeignKey("moves.move_id"), primary_key=True)
    file_id: Mapped[str] = mapped_column(primary_key=True, index=True)
    source: Mapped[str]
    """The node whose copy goes."""
    target: Mapped[str]
    size: Mapped[int]
    state: Mapped[MoveFileState] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(default="")
    since: Mapped[datetime]


class Revocation(Base):
    """An upload that was called off: its token counts no more, until it would have ended by itself.

    Its file is deleted if it comes all the same.
    """

    __tablename__ = "revocations"

    token_id: Mapped[str] = mapped_column(primary_key=True)
    revoked_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class RevokedToken(Base):
    """A token that an operator has revoked. What was stored with it before stays."""

    __tablename__ = "revoked_tokens"

    token_id: Mapped[str] = mapped_column(primary_key=True)
    """Its `jti`, or what stands for one (`portside.tokens.token_id`)."""
    kind: Mapped[str | None]
    """Its `typ`; None where only its id was told."""
    node_id: Mapped[str | None]
    """Whom it was for, as far as that is known."""
    reason: Mapped[str]
    revoked_by: Mapped[str]
    """The app whose key it was revoked with."""
    revoked_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    """When it would have ended by itself."""


class AlertStanding(Base):
    """An alert that holds, or did a moment ago (`control.alerts.standing`)."""

    __tablename__ = "alerts"

    name: Mapped[str] = mapped_column(primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    """The node's id; empty: the whole cluster."""
    began_at: Mapped[datetime]
    detail: Mapped[str]
    told_at: Mapped[datetime | None]
    """When it was told last; None: it hasn't held for long enough."""
    quiet_since: Mapped[datetime | None]
    """Since when its condition is false; None: it is true."""


class AlertNotice(Base):
    """A message to a webhook or a mailbox that has not arrived yet."""

    __tablename__ = "alert_notices"
    __table_args__ = (_one_of("channel", AlertChannel),)

    notice_id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[AlertChannel] = mapped_column(Text)
    message: Mapped[str]
    """The `AlertMessage` as JSON."""
    created_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime]
    """When it is tried next; while it is being tried, when another worker may."""
    problem: Mapped[str] = mapped_column(default="")
    """Why the last attempt failed."""


class AlertSample(Base):
    """What a node's counters said, every few minutes: alerts look at how they rise."""

    __tablename__ = "alert_samples"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(primary_key=True)
    disk_free: Mapped[int]
    quarantined: Mapped[int]
    committed: Mapped[int | None]
    failed: Mapped[int | None]
    broken: Mapped[int | None]
