"""Nodes, pools, apps and the roster as every request needs them, read once a second at most.

Requests look at a snapshot instead of the database: it costs a session or a heartbeat nothing. It
may be REFRESH seconds old, which is harmless: what must not go wrong (a reservation, a replay, a
lease) is decided by the database itself. While one thread reads a new one the others use the one
before; after a change in this process `forget` makes the next request read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from control import node_states, rosters
from control.database import Database
from control.models import App, ClusterState, Node, Pool, Revocation
from control.node_states import Signs
from control.placement import Place, Ranking
from control.settings import Settings
from portside.control_wire import NodeState, Roster, Tier
from portside.tokens import Keyset, PublicKey

REFRESH = 1.0
"""Seconds for which a snapshot is used."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as of the snapshot. `reasons` say why nothing new is placed on it."""

    node_id: str
    public_base_url: str
    upload_api_url: str
    region: str | None
    weight: int
    tier: Tier
    keyset: Keyset
    signs: Signs
    state: NodeState
    reasons: tuple[str, ...]
    disk_free: int
    disk_total: int
    disk_reserved: int
    active_uploads: int

    @property
    def healthy(self) -> bool:
        """Whether new files may be placed on it."""
        return not self.reasons


@dataclass(frozen=True, slots=True)
class KnownPool:
    """A pool with its settings in force, and its running counters as of the snapshot."""

    pool_id: str
    node: KnownNode
    public_base_url: str
    upload_api_url: str
    region: str | None
    weight: int
    tier: Tier
    priority: int
    capacity: int | None
    is_upload_target: bool
    reserved: int
    open_sessions: int
    stored: int


@dataclass(frozen=True, slots=True)
class KnownApp:
    """Who has an API key, and what for."""

    app_id: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment. Only `places` go along with what this process promises."""

    taken_at: datetime
    nodes: Mapping[str, KnownNode]
    pools: Mapping[str, KnownPool]
    apps: Mapping[str, KnownApp]
    """By the SHA-256 of their keys."""
    roster: Roster
    revoked: tuple[str, ...]
    places: tuple[Place, ...]
    ranking: Ranking
    """The same in the order in which they are taken."""
    signers: Mapping[str, tuple[str, Keyset]] = field(default_factory=dict)
    """Node and keyset by the id of the node's key."""


class Snapshots:
    """The newest snapshot. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._reading = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._read_at = 0.0
        self._keysets: dict[str, Keyset] = {}
        self._rosters: dict[int, Roster] = {}

    def current(self) -> Snapshot:
        """A snapshot that is at most about a second old. Raises DatabaseUnavailable."""
        found = self._snapshot
        if found is not None and time.monotonic() - self._read_at < REFRESH:
            return found
        # Whoever finds it old reads it anew; the others needn't wait for that.
        if not self._reading.acquire(blocking=found is None):
            assert found is not None  # noqa: S101 (else it would have waited)
            return found
        try:
            if self._snapshot is found:
                began = time.monotonic()
                self._snapshot = self._database.read(self.take)
                self._read_at = began
            assert self._snapshot is not None  # noqa: S101 (just read, or by whom we waited for)
            return self._snapshot
        finally:
            self._reading.release()

    def app(self, key_sha256: str) -> KnownApp | None:
        """The app with this key, also one that was made just now. Raises DatabaseUnavailable."""
        known = self.current().apps.get(key_sha256)
        if known is not None:
            return known

        def look_up(session: Session) -> KnownApp | None:
            row = session.scalars(
                select(App).where(App.key_sha256 == key_sha256, App.revoked_at.is_(None))
            ).one_or_none()
            return None if row is None else KnownApp(row.app_id, frozenset(row.scopes))

        return self._database.read(look_up)

    def forget(self) -> None:
        """Something was changed: whoever comes next reads the database."""
        with self._reading:
            self._snapshot = None

    def take(self, session: Session) -> Snapshot:
        """A snapshot of what this very transaction sees."""
        now = self._clock()
        cluster = session.get(ClusterState, 1)
        listening = None if cluster is None else cluster.listening_since
        nodes = {
            row.node_id: self._node(row, now, listening)
            for row in session.execute(select(*_NODE_COLUMNS).order_by(Node.node_id))
        }
        pools = {
            row.pool_id: _pool(row, nodes[row.node_id])
            for row in session.execute(select(Pool.__table__).order_by(Pool.pool_id))
        }
        apps = {
            row.key_sha256: KnownApp(row.app_id, frozenset(row.scopes))
            for row in session.execute(
                select(App.key_sha256, App.app_id, App.scopes).where(App.revoked_at.is_(None))
            )
        }
        revoked = session.scalars(
            select(Revocation.token_id)
            .where(Revocation.expires_at > now)
            .order_by(Revocation.token_id)
        )
        places = _places(pools)
        return Snapshot(
            taken_at=now,
            nodes=nodes,
            pools=pools,
            apps=apps,
            roster=self._roster(session, 0 if cluster is None else cluster.roster_version),
            revoked=tuple(revoked),
            places=places,
            ranking=Ranking(places),
            signers={
                key.kid: (node.node_id, node.keyset)
                for node in nodes.values()
                for key in node.keyset.keys
            },
        )

    def _node(self, row: Row[Any], now: datetime, listening: datetime | None) -> KnownNode:
        signs = signs_of(row)
        state = node_states.state_of(signs, now, self._settings.dead_after, listening)
        return KnownNode(
            node_id=row.node_id,
            public_base_url=row.public_base_url,
            upload_api_url=row.upload_api_url,
            region=row.region,
            weight=row.weight,
            tier=row.tier,
            keyset=self._keyset(row.key),
            signs=signs,
            state=state,
            reasons=node_states.reasons(signs, state, now),
            disk_free=row.disk_free,
            disk_total=row.disk_total,
            disk_reserved=row.disk_reserved,
            active_uploads=row.active_uploads,
        )

    def _keyset(self, key: dict[str, Any]) -> Keyset:
        known = self._keysets.get(key["x"])
        if known is None:
            known = Keyset(keys=(PublicKey.model_validate(key),))
            self._keysets[key["x"]] = known
        return known

    def _roster(self, session: Session, version: int) -> Roster:
        if version not in self._rosters:
            self._rosters = {version: rosters.published(session, self._settings, version)}
        return self._rosters[version]


_NODE_COLUMNS = tuple(
    column for column in Node.__table__.columns if column.name not in ("heartbeat", "sent_at")
)


def signs_of(row: Row[Any] | Node) -> Signs:
    """What a node's row says for it and against it."""
    return Signs(
        wanted=row.wanted,
        in_roster=row.in_roster,
        known_since=row.wanted_at,
        heard_at=row.heard_at,
        down_since=row.down_since,
        accepting=row.accepting,
        outside_problem=row.outside_problem,
        failures=row.failures,
        avoid_until=row.avoid_until,
    )


def _pool(row: Row[Any], node: KnownNode) -> KnownPool:
    return KnownPool(
        pool_id=row.pool_id,
        node=node,
        public_base_url=row.public_base_url or node.public_base_url,
        upload_api_url=row.upload_api_url or node.upload_api_url,
        region=row.region or node.region,
        weight=node.weight if row.weight is None else row.weight,
        tier=row.tier or node.tier,
        priority=row.priority,
        capacity=row.capacity,
        is_upload_target=row.is_upload_target,
        reserved=row.reserved,
        open_sessions=row.open_sessions,
        stored=row.stored,
    )


def _places(pools: Mapping[str, KnownPool]) -> tuple[Place, ...]:
    """Every pool of a healthy node, with what may still be promised of it."""
    promised: dict[str, int] = {}
    for pool in pools.values():
        node_id = pool.node.node_id
        promised[node_id] = promised.get(node_id, 0) + pool.reserved
    return tuple(
        _place(pool, promised[pool.node.node_id]) for pool in pools.values() if pool.node.healthy
    )


def _place(pool: KnownPool, promised: int) -> Place:
    """`promised` is what all pools of the node have promised: they share its disk.

    The node's own reservations may be of our sessions or of others' tokens: whichever sum is
    greater counts. An upload that has begun may be counted twice, as promised and as disk space
    that isn't free any more; that errs on the safe side, and only while it runs.
    """
    node = pool.node
    room = node.disk_free - max(promised, node.disk_reserved)
    total = node.disk_total
    used = 1.0 if total <= 0 else 1 - max(0, room) / total
    if pool.capacity is not None:
        left = pool.capacity - pool.stored - pool.reserved
        room = min(room, left)
        used = max(used, 1 - max(0, left) / pool.capacity)
    return Place(
        pool_id=pool.pool_id,
        node_id=node.node_id,
        tier=pool.tier,
        priority=pool.priority,
        region=pool.region,
        weight=pool.weight,
        is_upload_target=pool.is_upload_target,
        room=room,
        limit=pool.reserved + room,
        used=used,
        opened=pool.open_sessions + node.active_uploads,
    )
