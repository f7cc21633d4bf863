"""Nodes as operators see and set them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from control.cluster import rosters
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.deferred_log import log_on_commit
from control.db.models import Node, WantedState
from control.problems import ProblemError
from control.replication import draining, progress
from control.settings import Settings
from portside.wire.control import NodeStateRequest, NodeView, NodeViews
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
        raise unknown(node_id)
    return _node_view(snapshot, row).model_copy(
        update={
            "holding": draining.holding(session, node_id),
            "drain": progress.of_drain(session, snapshots, settings, node_id, now),
        }
    )


def known(session: Session, node_id: str) -> str:
    """This very id, of a node that was deployed once. Raises ProblemError."""
    if session.get(Node, node_id) is None:
        raise unknown(node_id)
    return node_id


def unknown(node_id: str) -> ProblemError:
    """The one answer to a node that nobody has deployed."""
    return ProblemError(
        "node-unknown", f"there is no node {node_id!r}: deploy it, then the control node"
    )


def without_heartbeat(view: NodeView) -> NodeView:
    """What an app needs of a node to know why it gets no uploads.

    What the node tells of itself is for its operators: versions, paths, who fails there and how.
    """
    said = set(view.heartbeat.reasons) if view.heartbeat is not None else set()
    reasons = tuple(reason for reason in view.reasons if reason not in said)
    return view.model_copy(update={"heartbeat": None, "reasons": reasons})


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
        raise unknown(node_id)
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
