"""Pools as operators see, make, set and delete them: places on nodes, with settings of their own.

A pool is a name and settings: the bytes of all pools of a node are on its one disk. So it may go
when nothing counts towards it any more. What comes in for it later (a session's upload after its
deadline) is counted for its node's own pool (`control.catalogue.copies`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.cluster.read_model import KnownPool
from control.cluster.snapshot import Snapshot
from control.db.deferred_log import log_on_commit
from control.db.models import OPEN_MOVE_STATES, Copy, File, Move, Node, Pool
from control.nodes import service
from control.problems import ProblemError
from portside.quantities import format_size
from portside.wire import paths
from portside.wire.control import NewPool, PoolSettings, PoolView, PoolViews

_COUNTED = ("present", "copying", "deleting")
"""States of copies that are on a node's disk, or may be soon."""


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
        raise service.unknown(new.node_id)
    counters = {"reserved": 0, "open_sessions": 0, "stored": 0}
    if not copies.insert_if_new(session, Pool, {**new.model_dump(), **counters}):
        raise ProblemError("pool-taken", f"there is a pool {new.pool_id!r} already: PUT changes it")


def set_pool(session: Session, pool_id: str, settings: PoolSettings) -> None:
    """Set a pool anew: what isn't given is the node's again. Raises ProblemError."""
    _set(session, pool_id, settings.model_dump())


def _set(session: Session, pool_id: str, values: Mapping[str, Any]) -> None:
    changed = session.execute(
        update(Pool).where(Pool.pool_id == pool_id).values(**values).returning(Pool.pool_id)
    ).one_or_none()
    if changed is None:
        raise _unknown_pool(pool_id)


def change_pool(session: Session, pool_id: str, settings: PoolSettings) -> None:
    """Set of a pool what is given, null as well, and leave the rest. Raises ProblemError."""
    given = settings.model_dump(include=settings.model_fields_set)
    if not given:
        if session.get(Pool, pool_id) is None:
            raise _unknown_pool(pool_id)
        return
    _set(session, pool_id, given)


def delete_pool(session: Session, pool_id: str) -> None:
    """Delete a pool that nothing counts towards. Raises ProblemError, saying what does.

    Its row is locked first: a session that is opened meanwhile finds no pool to promise on.
    """
    pool = session.scalars(
        select(Pool)
        .where(Pool.pool_id == pool_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if pool is None:
        raise _unknown_pool(pool_id)
    _must_be_unused(session, pool)
    session.delete(pool)
    session.flush()
    log_on_commit(session, "pool deleted", pool=pool_id, node=pool.node_id)


def _must_be_unused(session: Session, pool: Pool) -> None:
    if pool.pool_id == pool.node_id and session.get_one(Node, pool.node_id).in_roster:
        raise _in_use(
            f"{pool.pool_id} is the node's own pool and stays as long as the node: set "
            "'is_upload_target' to false to place nothing new there, or drain and retire the node, "
            "and take it out of the cluster file"
        )
    move_id = session.scalars(
        select(Move.move_id)
        .where(
            Move.state.in_(OPEN_MOVE_STATES),
            or_(Move.source_pool == pool.pool_id, Move.target_pool == pool.pool_id),
        )
        .limit(1)
    ).first()
    if move_id is not None:
        raise _in_use(
            f"move {move_id} is from or to {pool.pool_id}: wait for its end, or cancel it: POST "
            f"{paths.MOVES}/{move_id}/cancel"
        )
    files, size = session.execute(
        select(func.count(), func.coalesce(func.sum(File.size), 0))
        .select_from(Copy)
        .join(File, File.file_id == Copy.file_id)
        .where(Copy.node_id == pool.node_id, Copy.pool_id == pool.pool_id, Copy.state.in_(_COUNTED))
    ).one()
    if files:
        raise _in_use(
            f"{files} files ({format_size(int(size))}) are in {pool.pool_id}: move them to another "
            f"node's pool first, POST {paths.MOVES} with it as 'source'"
        )
    if pool.open_sessions or pool.reserved:
        raise _in_use(
            f"{pool.open_sessions} uploads to {pool.pool_id} may still come in: set "
            "'is_upload_target' to false, and delete it when they have ended"
        )


def _in_use(detail: str) -> ProblemError:
    return ProblemError("pool-in-use", detail)
