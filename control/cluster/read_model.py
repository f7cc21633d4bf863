"""What the control plane knows of nodes, pools and apps: rows made into what decisions need.

A thousand nodes are read every second, and few of them have changed: rows come as the database
has them, and what was made of a row is used again for as long as the row, and what time makes of
it, is the same. They come in slices with a `pause` between them, so that requests of other threads
needn't wait for all of them (Python runs one thread at a time).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import BigInteger, ColumnElement, Row, Select, Text, cast, select, type_coerce
from sqlalchemy.orm import Session

from control.cluster import node_states
from control.cluster.node_states import Signs
from control.cluster.reach import EVERYTHING, Reach
from control.db.models import Moment, Node, Pool, moment
from portside.wire.heartbeat import NodeState, Tier
from portside.wire.keys import Keyset, PublicKey

Pause = Callable[[], None]
"""What is done between two slices of rows."""

SLICE = 50
"""Rows that are looked at in one go: well below a millisecond."""


@dataclass(frozen=True, slots=True)
class KnownNode:
    """A node as of a snapshot. `reasons` say why nothing new is placed on it."""

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
    """A pool with its settings in force, and its running counters as of a snapshot."""

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
    namespaces: frozenset[str] | None = None
    """Those that its key is bound to; None: it isn't."""

    @property
    def reach(self) -> Reach:
        """Whose files it may know of."""
        return EVERYTHING if "admin" in self.scopes else Reach(self.app_id, self.namespaces)


def known_app(app_id: str, scopes: Sequence[str], namespaces: Sequence[str] | None) -> KnownApp:
    """An app as its row has it."""
    bound = None if namespaces is None else frozenset(namespaces)
    return KnownApp(app_id, frozenset(scopes), bound)


class NodeReader:
    """Reads nodes. Threads that read at once don't disturb each other."""

    def __init__(self, dead_after: float) -> None:
        """`dead_after`: seconds of silence after which a node is down."""
        self._dead_after = dead_after
        self._made: Mapping[str, _Made] = {}
        self._keysets: dict[tuple[str, str | None], Keyset] = {}

    def read(
        self, session: Session, now: datetime, listening: datetime | None, pause: Pause
    ) -> dict[str, KnownNode]:
        """Every node by its id. Silence counts from `listening` on at most."""
        before, made = self._made, dict[str, _Made]()
        for row in _rows(session, _NODES, pause):
            last = before.get(row.node_id)
            if last is None or not last.holds(row, now, listening):
                last = self._make(row, now, listening)
            made[row.node_id] = last
        self._made = made
        return {node_id: each.node for node_id, each in made.items()}

    def _make(self, row: Row[Any], now: datetime, listening: datetime | None) -> _Made:
        signs = Signs(
            wanted=row.wanted,
            in_roster=bool(row.in_roster),
            known_since=moment(row.wanted_at),
            heard_at=_moment(row.heard_at),
            down_since=_moment(row.down_since),
            accepting=bool(row.accepting),
            outside_problem=row.outside_problem,
            failures=row.failures,
            avoid_until=_moment(row.avoid_until),
            clock_skew=row.clock_skew,
        )
        state = node_states.state_of(signs, now, self._dead_after, listening)
        node = KnownNode(
            node_id=row.node_id,
            public_base_url=row.public_base_url,
            upload_api_url=row.upload_api_url,
            region=row.region,
            weight=row.weight,
            tier=row.tier,
            keyset=self._keyset(row.key, row.other_keys),
            signs=signs,
            state=state,
            reasons=node_states.reasons(signs, state, now),
            disk_free=row.disk_free,
            disk_total=row.disk_total,
            disk_reserved=row.disk_reserved,
            active_uploads=row.active_uploads,
        )
        silent = timedelta(seconds=self._dead_after - node_states.silence(signs, now, listening))
        ends = [end for end in (now + silent, signs.avoid_until) if end is not None and end >= now]
        return _Made(row, node, listening, min(ends, default=None))

    def _keyset(self, key: str, others: str | None) -> Keyset:
        known = self._keysets.get((key, others))
        if known is None:
            own = PublicKey.model_validate_json(key)
            known = Keyset(keys=(own, *_KEYS.validate_json(others or "[]")))
            self._keysets[key, others] = known
        return known


class PoolReader:
    """Reads pools. Threads that read at once don't disturb each other."""

    def __init__(self) -> None:
        self._made: Mapping[str, tuple[Row[Any], KnownPool]] = {}

    def read(
        self, session: Session, nodes: Mapping[str, KnownNode], pause: Pause
    ) -> dict[str, KnownPool]:
        """Every pool by its id, on these nodes."""
        before, made = self._made, dict[str, tuple[Row[Any], KnownPool]]()
        for row in _rows(session, _POOLS, pause):
            node = nodes.get(row.node_id)
            if node is None:
                # It joined after the nodes were read: both are there the next time.
                continue
            last = before.get(row.pool_id)
            if last is None or last[1].node is not node or last[0] != row:
                last = row, _pool(row, node)
            made[row.pool_id] = last
        self._made = made
        return {pool_id: pool for pool_id, (_, pool) in made.items()}


def _rows(session: Session, query: Select[Any], pause: Pause) -> Iterator[Row[Any]]:
    found = session.connection().execute(query)
    while rows := found.fetchmany(SLICE):
        yield from rows
        pause()


@dataclass(frozen=True, slots=True)
class _Made:
    """A node that was made of a row, and until when it is what the row says."""

    row: Row[Any]
    node: KnownNode
    listening: datetime | None
    until: datetime | None

    def holds(self, row: Row[Any], now: datetime, listening: datetime | None) -> bool:
        return (
            self.row == row
            and self.listening == listening
            and (self.until is None or now < self.until)
        )


def _as_stored(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column as the database has it: most rows are only compared, not looked into."""
    if isinstance(column.type, Moment):
        return type_coerce(column, BigInteger).label(column.key)
    return column


def signs_of(node: Node) -> Signs:
    """What one node's row, read by itself, says for it and against it."""
    return Signs(
        wanted=node.wanted,
        in_roster=node.in_roster,
        known_since=node.wanted_at,
        heard_at=node.heard_at,
        down_since=node.down_since,
        accepting=node.accepting,
        outside_problem=node.outside_problem,
        failures=node.failures,
        avoid_until=node.avoid_until,
        clock_skew=node.clock_skew,
    )


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


_TOLD = ("heartbeat", "ticket", "sent_at", "outside_at")
"""What changes with every heartbeat and is for others to read."""

_JSON = ("key", "other_keys")
_KEYS = TypeAdapter(tuple[PublicKey, ...])

# Keys as text: each is parsed once.
_NODES = select(
    *(_as_stored(each) for each in Node.__table__.columns if each.key not in (*_JSON, *_TOLD)),
    *(cast(Node.__table__.columns[name], Text).label(name) for name in _JSON),
).order_by(Node.node_id)
_POOLS = select(*(_as_stored(each) for each in Pool.__table__.columns)).order_by(Pool.pool_id)


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
        is_upload_target=bool(row.is_upload_target),
        reserved=row.reserved,
        open_sessions=row.open_sessions,
        stored=row.stored,
    )
