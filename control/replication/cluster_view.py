"""What decisions about copies need of the whole cluster, read at the beginning of a transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

from sqlalchemy import case, func, select, text
from sqlalchemy.orm import Session

from control.catalogue.copies import copies_of
from control.cluster import node_states, placement
from control.cluster.placement import Place
from control.cluster.read_model import signs_of
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.models import OPEN_MOVE_STATES, ClusterState, File, Move, MoveFile, Node, Pool, Work
from control.replication.balance import NodeUsage
from control.replication.policy import LARGE, LEAST_LOAD, CopyOnNode, Keeper, NodeLoads, Standing
from control.settings import Settings

OUTSTANDING = 8
"""Large files that one node sends, and that one receives, at the same time; small ones are more
(`control.replication.policy.load_of`). Few enough for uploads not to notice, enough to keep a line
busy."""

REMOVALS = 100
"""Removals that one node has in hand at the same time: they are cheap, but not free."""

_LOAD = func.sum(
    case(
        (Work.size >= LARGE, 1.0),
        (Work.size <= int(LARGE * LEAST_LOAD), LEAST_LOAD),
        else_=Work.size * (1.0 / LARGE),
    )
)
"""`load_of`, summed up by the database."""

_UNDER_WAY = text("work.state IN ('waiting', 'leased')")
"""In the words of the partial index `uq_work_under_way`, so that ended work isn't read."""


@dataclass(slots=True)
class ClusterView:
    """The nodes, what each has to do, and where a copy may go. It goes along with orders."""

    snapshot: Snapshot
    keepers: Mapping[str, Keeper]
    returned: Mapping[str, datetime]
    """Nodes whose older copies are doubtful, and since when."""
    loads: NodeLoads
    removals: dict[str, int]
    """Removals that each node has in hand."""
    coming: dict[str, int]
    """Bytes that are on their way to each node."""
    going: dict[str, int]
    """Bytes that each node is about to delete, or a move is about to take from it."""
    places: list[Place] = field(default_factory=list)
    _random: Random = field(default_factory=Random)

    def standing(self, session: Session, file: File) -> tuple[list[CopyOnNode], Standing]:
        """A file's copies and what is to be said of them. The caller has locked the file's row."""
        copies = [
            CopyOnNode(node_id, row.state, self._is_proven(node_id, row.since))
            for node_id, row in copies_of(session, file.file_id).items()
            if node_id in self.keepers
        ]
        return copies, Standing(copies, self.keepers, file.factor)

    def _is_proven(self, node_id: str, since: datetime) -> bool:
        returned_at = self.returned.get(node_id)
        return returned_at is None or since > returned_at

    def place(self, size: int, without: Collection[str]) -> Place | None:
        """Where a copy of this size goes best; None when nothing has room."""
        found = placement.choose(
            self.places, size, self._random, without=tuple(without), for_uploads=False
        )
        return found[0] if found else None

    def place_of(self, pool_id: str) -> Place | None:
        """A pool, if anything may be placed there now."""
        return next((each for each in self.places if each.pool_id == pool_id), None)

    def took(self, source: str, place: Place, size: int) -> None:
        """A copy was ordered."""
        self.loads.take(source, place.node_id, size)
        self.coming[place.node_id] = self.coming.get(place.node_id, 0) + size
        place.room -= size

    def usages(self) -> list[NodeUsage]:
        """How full the nodes are that may give and take, by what is stored and under way."""
        stored: dict[str, int] = {}
        for pool in self.snapshot.pools.values():
            stored[pool.node.node_id] = stored.get(pool.node.node_id, 0) + pool.stored
        return [
            NodeUsage(
                node_id,
                stored.get(node_id, 0) + self.coming.get(node_id, 0) - self.going.get(node_id, 0),
                node.disk_total,
            )
            for node_id, node in self.snapshot.nodes.items()
            if node.healthy and node.disk_total
        ]


def load(session: Session, snapshots: Snapshots, settings: Settings, now: datetime) -> ClusterView:
    """The cluster as this transaction sees it."""
    snapshot = snapshots.take(session)
    leaving = set(
        session.scalars(
            select(Pool.node_id)
            .join(Move, Move.source_pool == Pool.pool_id)
            .where(Move.state.in_(OPEN_MOVE_STATES))
        )
    )
    keepers = {
        node_id: Keeper(
            node_id=node_id,
            state=node.state,
            given_up=is_given_up(snapshot, node_id, settings, now),
            leaving=node_id in leaving,
            used=1 - node.disk_free / node.disk_total if node.disk_total else 0.0,
        )
        for node_id, node in snapshot.nodes.items()
    }
    returned = {
        node_id: at
        for node_id, at in session.execute(
            select(Node.node_id, Node.returned_at).where(Node.returned_at.is_not(None))
        )
        if at is not None
    }
    view = ClusterView(snapshot, keepers, returned, NodeLoads(OUTSTANDING, {}, {}), {}, {}, {})
    _add_work(session, view)
    # The snapshot's own places are others' too: what is ordered here is noted down in copies.
    view.places = [_with_less_room(each, view.coming) for each in snapshot.places]
    return view


def standing_of(
    session: Session, settings: Settings, file: File, now: datetime
) -> tuple[list[CopyOnNode], Standing]:
    """What `ClusterView.standing` says, of one file and reading its nodes alone."""
    rows = copies_of(session, file.file_id)
    nodes = session.scalars(select(Node).where(Node.node_id.in_(rows))).all()
    cluster = session.get(ClusterState, 1)
    listening = None if cluster is None else cluster.listening_since
    keepers = {
        node.node_id: Keeper(
            node.node_id,
            node_states.state_of(signs_of(node), now, settings.dead_after, listening),
        )
        for node in nodes
    }
    copies = [
        CopyOnNode(
            node.node_id,
            rows[node.node_id].state,
            node.returned_at is None or rows[node.node_id].since > node.returned_at,
        )
        for node in nodes
    ]
    return copies, Standing(copies, keepers, file.factor)


def is_given_up(snapshot: Snapshot, node_id: str, settings: Settings, now: datetime) -> bool:
    """Whether a node's copies aren't waited for any more."""
    node = snapshot.nodes[node_id]
    if node.state == "retired":
        return True
    since = node.signs.down_since
    return (
        node.state == "down"
        and since is not None
        and now - since >= timedelta(seconds=settings.repair_after)
    )


def _add_work(session: Session, view: ClusterView) -> None:
    """What nodes have to do and what is on its way, by the work that is under way."""
    rows = session.execute(
        select(Work.kind, Work.node_id, Work.place, func.count(), func.sum(Work.size), _LOAD)
        .where(_UNDER_WAY)
        .group_by(Work.kind, Work.node_id, Work.place)
    )
    for kind, node_id, place, count, size, load_ in rows:
        if kind == "replicate":
            view.loads.sending[node_id] = view.loads.sending.get(node_id, 0) + load_
            view.loads.receiving[place] = view.loads.receiving.get(place, 0) + load_
            view.coming[place] = view.coming.get(place, 0) + int(size)
        else:
            view.removals[node_id] = view.removals.get(node_id, 0) + count
            view.going[node_id] = view.going.get(node_id, 0) + int(size)
    in_hand = session.execute(
        select(MoveFile.source, func.sum(MoveFile.size))
        .where(MoveFile.state.in_(("copying", "waiting")))
        .group_by(MoveFile.source)
    )
    for node_id, size in in_hand:
        view.going[node_id] = view.going.get(node_id, 0) + int(size)


def _with_less_room(place: Place, coming: Mapping[str, int]) -> Place:
    taken = coming.get(place.node_id, 0)
    return Place(
        pool_id=place.pool_id,
        node_id=place.node_id,
        tier=place.tier,
        priority=place.priority,
        region=place.region,
        weight=place.weight,
        is_upload_target=place.is_upload_target,
        room=place.room - taken,
        limit=place.limit,
        used=place.used,
        opened=place.opened,
    )
