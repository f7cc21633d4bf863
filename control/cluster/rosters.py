"""The roster: taken over from the deploy's file, published with the states that nodes are in.

A deploy says who is in the cluster, with which key, URLs, region, weight and tier; the control
plane says each node's state. What is published has a version above both
(`portside.cluster.roster`).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.catalogue.copies import insert_if_new
from control.db.deferred_log import log_on_commit
from control.db.models import ClusterState, Node, Pool
from control.settings import Settings
from portside.cluster.roster import next_version
from portside.wire.heartbeat import NodeState, Roster, RosterNode
from portside.wire.keys import PublicKey

_TEN_YEARS = 10 * 365 * 86400


class RosterUnusable(Exception):
    """The deploy's roster file can't be read; the message says why."""


def read(path: Path) -> Roster:
    """The roster that the deploy wrote. Raises RosterUnusable."""
    try:
        return Roster.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RosterUnusable(f"{path}: can't be read: {error.strerror}") from None
    except ValidationError as error:
        raise RosterUnusable(f"{path}: is no roster: {error.errors()[0]['msg']}") from None


def take_over(session: Session, deployed: Roster, now: datetime) -> bool:
    """Bring the nodes to what a newer deploy says; returns whether it is newer.

    Each node gets a pool of its own id. A node that was left out stays known, for its files and
    for those who ask, but it is answered no more.
    """
    state = cluster_state(session)
    if deployed.version <= state.deployed_version:
        return False
    for node in deployed.nodes:
        facts = {
            "public_base_url": node.public_base_url,
            "upload_api_url": node.upload_api_url,
            "region": node.region,
            "weight": node.weight,
            "tier": node.tier,
            "key": _stored(node.key),
            "other_keys": [_stored(key) for key in node.other_keys] or None,
            "in_roster": True,
        }
        if insert_if_new(
            session,
            Node,
            {**facts, "node_id": node.node_id, "wanted": "active", "wanted_at": now, **_UNHEARD},
        ):
            log_on_commit(session, "node joined", node=node.node_id)
        else:
            session.execute(update(Node).where(Node.node_id == node.node_id).values(**facts))
        insert_if_new(session, Pool, {"pool_id": node.node_id, "node_id": node.node_id, **_EMPTY})
    names = [node.node_id for node in deployed.nodes]
    session.execute(update(Node).where(Node.node_id.not_in(names)).values(in_roster=False))
    state.deployed_version = deployed.version
    state.roster_version = next_version(max(state.roster_version, deployed.version), now)
    log_on_commit(
        session, "roster taken over", version=deployed.version, published=state.roster_version
    )
    return True


_UNHEARD = {
    "disk_free": 0,
    "disk_total": 0,
    "disk_reserved": 0,
    "active_uploads": 0,
    "accepting": False,
    "failures": 0,
}
_EMPTY = {
    "priority": 0,
    "is_upload_target": True,
    "reserved": 0,
    "open_sessions": 0,
    "stored": 0,
}


def cluster_state(session: Session) -> ClusterState:
    """The one row of the cluster, locked until the transaction ends."""
    insert_if_new(
        session, ClusterState, {"state_id": 1, "roster_version": 0, "deployed_version": 0}
    )
    return session.scalars(
        select(ClusterState).with_for_update().execution_options(populate_existing=True)
    ).one()


def changed(session: Session, now: datetime) -> int:
    """A node's state has changed: nodes are to hear of it. Returns the roster's new version."""
    state = cluster_state(session)
    state.roster_version = next_version(state.roster_version, now)
    session.flush()
    return state.roster_version


def overtake(session: Session, told: int, now: datetime) -> None:
    """A node has a newer roster than this database remembers: it is older than its own words.

    So is a database that was restored from a backup. Without a version above the node's, nodes
    would never take another roster. What no clock has ever said isn't believed.
    """
    state = cluster_state(session)
    if state.roster_version < told < now.timestamp() + _TEN_YEARS:
        state.roster_version = next_version(told, now)
        session.flush()
        log_on_commit(session, "roster overtaken", told=told, published=state.roster_version)


def published(session: Session, settings: Settings, version: int) -> Roster:
    """The roster as nodes get it."""
    rows = session.scalars(select(Node).where(Node.in_roster).order_by(Node.node_id))
    return Roster(
        version=version,
        cluster=settings.cluster,
        control_url=settings.control_url,
        factor=settings.factor,
        nodes=tuple(
            RosterNode(
                node_id=node.node_id,
                public_base_url=node.public_base_url,
                upload_api_url=node.upload_api_url,
                region=node.region,
                weight=node.weight,
                tier=node.tier,
                state=_published_state(node),
                key=PublicKey.model_validate(node.key),
                other_keys=tuple(map(PublicKey.model_validate, node.other_keys or ())),
            )
            for node in rows
        ),
    )


def _stored(key: PublicKey) -> dict[str, Any]:
    return key.model_dump(mode="json", exclude_none=True)


def _published_state(node: Node) -> NodeState:
    if node.wanted != "retired" and node.down_since is not None:
        return "down"
    return node.wanted
