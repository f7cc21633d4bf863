"""Nodes and pools as operators see and set them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster import rosters
from control.cluster.read_model import KnownPool
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.deferred_log import log_on_commit
from control.db.models import Node, Pool, WantedState
from control.problems import ProblemError
from control.replication import draining, progress
from control.settings import Settings
from portside.wire.control import (
    NewPool,
    NodeStateRequest,
    NodeView,
    NodeViews,
    PoolSettings,
    PoolView,
    PoolViews,
)
from portside.wire.heartbeat import Heartbeat


def every_node(
    session: Session, snapshot: Snapshot, snapshots: Snapshots, settings: Settings, now: datetime
) -> NodeViews:
    """Every node that a deploy knows, with its last heartbeat, and how far its drain is."""
    rows = session.scalars(select(Node).where(Node.in_roster).order_by(Node.node_id)).all()
    return NodeViews(
        nodes=tuple(
            _node_view(snapshot, row).model_copy(
                update={"drain": progress.of_drain(session, snapshots, settings, row.node_id, now)}
            )
            for row in rows
            if row.node_id in snapshot.nodes
        )
    )


def one_node(
    session: Session,
    snapshot: Snapshot,
    snapshots: Snapshots,
    settings: Settings,
    node_id: str,
    now: datetime,
) -> NodeView:
    """One node, also one that a deploy has left out. Raises ProblemError."""
    row = session.get(Node, node_id)
    if row is None or node_id not in snapshot.nodes:
        raise _unknown(node_id)
    return _node_view(snapshot, row).model_copy(
        update={
            "holding": draining.holding(session, node_id),
            "drain": progress.of_drain(session, snapshots, settings, node_id, now),
        }
    )


def _unknown(node_id: str) -> ProblemError:
    return ProblemError(
        "node-unknown", f"there is no node {node_id!r}: deploy it, then the control node"
    )


def _node_view(snapshot: Snapshot, row: Node) -> NodeView:
    node = snapshot.nodes[row.node_id]
    heartbeat = None if row.heartbeat is None else Heartbeat.model_validate_json(row.heartbeat)
    reasons = node.reasons + (heartbeat.reasons if heartbeat is not None else ())
    own = [pool for pool in snapshot.pools.values() if pool.node.node_id == row.node_id]
    return NodeView(
        node_id=node.node_id,
        state=node.state,
        healthy=node.healthy,
        reasons=reasons,
        public_base_url=node.public_base_url,
        upload_api_url=node.upload_api_url,
        region=node.region,
        weight=node.weight,
        tier=node.tier,
        heard_at=node.signs.heard_at,
        down_since=node.signs.down_since,
        clock_skew=node.signs.clock_skew,
        reserved=sum(pool.reserved for pool in own),
        open_sessions=sum(pool.open_sessions for pool in own),
        heartbeat=heartbeat,
    )


def set_state(
    session: Session,
    snapshots: Snapshots,
    settings: Settings,
    node_id: str,
    wish: NodeStateRequest,
    now: datetime,
) -> WantedState:
    """What an operator wants of a node from now on; returns what was wanted before.

    A node that still has copies isn't retired without `force`, and none drains whose files the
    others can't take. Raises ProblemError.
    """
    # Two who begin to drain come one after the other, so that the second one sees the first.
    rosters.cluster_state(session)
    row = session.get(Node, node_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise _unknown(node_id)
    if wish.state == "retired" and not wish.force:
        draining.must_be_empty(session, node_id, now, settings.dead_after)
    if wish.state == "draining" and row.wanted != "draining":
        draining.must_be_drainable(session, snapshots, settings, node_id)
    before = row.wanted
    if before != wish.state:
        row.wanted, row.wanted_at = wish.state, now
        rosters.changed(session, now)
        log_on_commit(session, "node state set", node=node_id, state=wish.state, before=before)
    return before


def every_pool(snapshot: Snapshot) -> PoolViews:
    """Every pool, with its settings in force."""
    return PoolViews(pools=tuple(_pool_view(pool) for pool in snapshot.pools.values()))


def one_pool(snapshot: Snapshot, pool_id: str) -> PoolView:
    """One pool. Raises ProblemError."""
    pool = snapshot.pools.get(pool_id)
    if pool is None:
        raise _unknown_pool(pool_id)
    return _pool_view(pool)


def _unknown_pool(pool_id: str) -> ProblemError:
    return ProblemError(
        "pool-unknown", f"there is no pool {pool_id!r}: GET /api/v1/pools lists them"
    )


def _pool_view(pool: KnownPool) -> PoolView:
    return PoolView(
        pool_id=pool.pool_id,
        node_id=pool.node.node_id,
        public_base_url=pool.public_base_url,
        upload_api_url=pool.upload_api_url,
        region=pool.region,
        weight=pool.weight,
        tier=pool.tier,
        priority=pool.priority,
        capacity=pool.capacity,
        is_upload_target=pool.is_upload_target,
        occupied=pool.stored + pool.reserved,
        health="healthy" if pool.node.healthy else "unhealthy",
    )


def create_pool(session: Session, new: NewPool) -> None:
    """Make a pool on a node that is there. Raises ProblemError."""
    if session.get(Node, new.node_id) is None:
        raise _unknown(new.node_id)
    counters = {"reserved": 0, "open_sessions": 0, "stored": 0}
    if not copies.insert_if_new(session, Pool, {**new.model_dump(), **counters}):
        raise ProblemError("pool-taken", f"there is a pool {new.pool_id!r} already: PUT changes it")


def set_pool(session: Session, pool_id: str, settings: PoolSettings) -> None:
    """Set a pool anew: what isn't given is the node's again. Raises ProblemError."""
    changed = session.execute(
        update(Pool)
        .where(Pool.pool_id == pool_id)
        .values(**settings.model_dump())
        .returning(Pool.pool_id)
    ).one_or_none()
    if changed is None:
        raise _unknown_pool(pool_id)
