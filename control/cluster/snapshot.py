"""Nodes, pools, apps and the roster as every request needs them, read once a second at most.

Requests look at a snapshot instead of the database: it costs a session or a heartbeat nothing. It
may be LONGEST seconds old, which is harmless: what must not go wrong (a reservation, a replay, a
lease) is decided by the database itself. While a thread reads a new one requests use the one
before; after a change in this process `forget` makes the next request read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from control.cluster import api_keys, rosters
from control.cluster.placement import Place, Ranking
from control.cluster.read_model import (
    KnownApp,
    KnownNode,
    KnownPool,
    NodeReader,
    Pause,
    PoolReader,
    known_app,
)
from control.db.database import Database, DatabaseUnavailable
from control.db.models import ApiKey, App, ClusterState, Revocation, RevokedToken
from control.settings import Settings
from portside import tokens
from portside.wire.bounds import MOST_REVOKED
from portside.wire.heartbeat import Roster
from portside.wire.keys import Keyset

_log = structlog.get_logger()

REFRESH = 1.0
"""Seconds after which a snapshot is read anew, behind the requests that go on with this one."""

LONGEST = 2.0
"""Seconds after which a snapshot isn't used: after a time without requests, or while the database
is slow."""

_BREATH = 0.002
"""Seconds for which requests come first, between slices of rows that are read behind them."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The cluster at one moment. Only `places` go along with what this process promises."""

    nodes: Mapping[str, KnownNode]
    pools: Mapping[str, KnownPool]
    apps: Mapping[str, KnownApp]
    """By the SHA-256 of their keys."""
    roster: Roster
    revoked: tuple[str, ...]
    learned_at: datetime | None
    """When a file was last taken over of which nothing was known: see `HeartbeatAnswer`."""
    listening_since: datetime | None
    """Since when heartbeats could come in."""
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
        self._ordered = False
        self._nodes = NodeReader(settings.dead_after)
        self._pools = PoolReader()
        self._places = _Places()
        self._rosters: dict[int, Roster] = {}

    def current(self) -> Snapshot:
        """A snapshot that is a second old, seldom two. Raises DatabaseUnavailable."""
        found = self._snapshot
        if found is None:
            return self._read_instead_of(None)
        age = time.monotonic() - self._read_at
        if age >= LONGEST:
            return self._read_instead_of(found)
        if age >= REFRESH and not self._ordered:
            # Nobody waits for it: with a thousand nodes it takes longer than a session.
            self._ordered = True
            self._database.behind(self._read_behind)
        return found

    def _read_instead_of(self, found: Snapshot | None) -> Snapshot:
        with self._reading:
            newest = self._snapshot
            # Whoever was first has read it for those who waited.
            return self._read() if newest is None or newest is found else newest

    def _read_behind(self) -> None:
        try:
            with self._reading:
                if time.monotonic() - self._read_at >= REFRESH:
                    self._read(pause=lambda: time.sleep(_BREATH))
        except DatabaseUnavailable:
            # It is in the log; who needs a snapshot when this one is too old hears of it.
            pass
        except Exception as error:
            # Nobody waits for this one; whoever needs the next fails with it, too.
            _log.error("snapshot can't be read", exc_info=error)
        finally:
            self._ordered = False

    def _read(self, pause: Pause = lambda: None) -> Snapshot:
        began = time.monotonic()
        self._snapshot = read = self._database.read(lambda session: self.take(session, pause))
        self._read_at = began
        return read

    def app(self, key_sha256: str) -> KnownApp | None:
        """The app with this key, also one that was made just now. Raises DatabaseUnavailable."""
        known = self.current().apps.get(key_sha256)
        if known is not None:
            return known

        def look_up(session: Session) -> KnownApp | None:
            row = session.execute(
                _keys_that_count(self._clock()).where(ApiKey.key_sha256 == key_sha256)
            ).one_or_none()
            return None if row is None else known_app(row.app_id, row.scopes, row.namespaces)

        return self._database.read(look_up)

    def forget(self) -> None:
        """Something was changed: whoever comes next reads the database."""
        with self._reading:
            self._snapshot = None

    def take(self, session: Session, pause: Pause = lambda: None) -> Snapshot:
        """A snapshot of what this very transaction sees."""
        now = self._clock()
        cluster = session.get(ClusterState, 1)
        listening = None if cluster is None else cluster.listening_since
        nodes = self._nodes.read(session, now, listening, pause)
        pools = self._pools.read(session, nodes, pause)
        apps = {
            row.key_sha256: known_app(row.app_id, row.scopes, row.namespaces)
            for row in session.execute(_keys_that_count(now))
        }
        places = self._places.of(pools)
        return Snapshot(
            nodes=nodes,
            pools=pools,
            apps=apps,
            roster=self._roster(session, 0 if cluster is None else cluster.roster_version),
            revoked=_revoked(session, now),
            learned_at=None if cluster is None else cluster.learned_at,
            listening_since=listening,
            places=places,
            ranking=Ranking(places),
            signers={
                key.kid: (node.node_id, node.keyset)
                for node in nodes.values()
                for key in node.keyset.keys
            },
        )

    def _roster(self, session: Session, version: int) -> Roster:
        if version not in self._rosters:
            self._rosters = {version: rosters.published(session, self._settings, version)}
        return self._rosters[version]


def _keys_that_count(now: datetime) -> Select[*tuple[Any, ...]]:
    """API keys with what their apps may."""
    return (
        select(ApiKey.key_sha256, App.app_id, App.scopes, App.namespaces)
        .join(App, App.app_id == ApiKey.app_id)
        .where(App.revoked_at.is_(None), api_keys.counts(now))
    )


def _revoked(session: Session, now: datetime) -> tuple[str, ...]:
    """Tokens that nodes are to refuse: as many as a heartbeat's answer takes.

    What operators have revoked comes first, then the uploads that were called off last: nodes
    remember those that they were told of before.
    """
    late = now - timedelta(seconds=tokens.LEEWAY)
    found = dict.fromkeys(
        session.scalars(
            select(RevokedToken.token_id)
            .where(RevokedToken.expires_at > late)
            .order_by(RevokedToken.revoked_at.desc(), RevokedToken.token_id)
            .limit(MOST_REVOKED)
        )
    )
    called_off = session.scalars(
        select(Revocation.token_id)
        .where(Revocation.expires_at > late)
        .order_by(Revocation.revoked_at.desc(), Revocation.token_id)
        .limit(MOST_REVOKED - len(found))
    )
    return tuple(dict.fromkeys((*found, *called_off)))


class _Places:
    """What may be promised of each pool. A place that nothing has changed of stays the same."""

    def __init__(self) -> None:
        self._made: Mapping[str, tuple[KnownPool, int, Place]] = {}

    def of(self, pools: Mapping[str, KnownPool]) -> tuple[Place, ...]:
        """The places of all pools whose nodes are healthy."""
        promised: dict[str, int] = {}
        for pool in pools.values():
            node_id = pool.node.node_id
            promised[node_id] = promised.get(node_id, 0) + pool.reserved
        before, made = self._made, dict[str, tuple[KnownPool, int, Place]]()
        for pool_id, pool in pools.items():
            if not pool.node.healthy:
                continue
            last, of_node = before.get(pool_id), promised[pool.node.node_id]
            if last is None or last[0] is not pool or last[1] != of_node or last[2].touched:
                last = pool, of_node, _place(pool, of_node)
            made[pool_id] = last
        self._made = made
        return tuple(place for _, _, place in made.values())


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
