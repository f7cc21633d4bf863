"""Who else has a node's files: what is asked before the node goes for good.

A copy counts here as it counts for the invariant (`control.replication.policy`): present by its own
node's receipt, on a node that is reachable now, and proven since that node was last away. Nothing
is changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from control.cluster import node_states
from control.cluster.read_model import signs_of
from control.db.models import ClusterState, Copy, File, Node
from control.replication.policy import Keeper
from control.settings import Settings
from portside.wire.inventory import (
    FileOnNode,
    LeavingAnswer,
    OnlyCopies,
    OnlyCopiesQuery,
    OnlyCopy,
    OtherCopies,
)


def who_else(
    session: Session,
    settings: Settings,
    node_id: str,
    files: Sequence[FileOnNode],
    now: datetime,
) -> LeavingAnswer:
    """Which other nodes have these very files of a node's."""
    ids = [each.file_id for each in files]
    known = {row.file_id: row for row in session.scalars(select(File).where(File.file_id.in_(ids)))}
    good = _good_elsewhere(session, settings, node_id, ids, now)
    return LeavingAnswer(files=tuple(_judged(each, known, good) for each in files))


def only_copies(
    session: Session, settings: Settings, node_id: str, query: OnlyCopiesQuery, now: datetime
) -> OnlyCopies:
    """A page of the files that a node should have: those that are nowhere else."""
    rows = session.scalars(
        select(File)
        .join(Copy, Copy.file_id == File.file_id)
        .where(
            Copy.node_id == node_id,
            # One that went away with its node, not one that the node said it hasn't.
            or_(Copy.state == "present", (Copy.state == "lost") & (Copy.lost_as == "away")),
            File.state.in_(("committed", "lost")),
            Copy.file_id > (query.after or ""),
        )
        .order_by(Copy.file_id)
        .limit(query.limit)
    ).all()
    good = _good_elsewhere(session, settings, node_id, [row.file_id for row in rows], now)
    return OnlyCopies(
        node_id=node_id,
        files=tuple(
            OnlyCopy.model_validate(
                {name: getattr(row, name) for name in OnlyCopy.model_fields}, strict=False
            )
            for row in rows
            if not good[row.file_id] and not row.has_ended(now)
        ),
        looked_at=len(rows),
        next=rows[-1].file_id if len(rows) == query.limit else None,
    )


def _judged(
    asked: FileOnNode, known: Mapping[str, File], good: Mapping[str, list[str]]
) -> OtherCopies:
    file = known.get(asked.file_id)
    if file is None:
        return OtherCopies(file_id=asked.file_id, why="the control plane doesn't know it")
    if file.state in ("deleting", "deleted"):
        return OtherCopies(file_id=asked.file_id, why="it is deleted", wanted=False)
    if (file.size, file.sha256) != (asked.size, asked.sha256):
        return OtherCopies(
            file_id=asked.file_id,
            why=f"it is another file there: {file.size} bytes with SHA-256 {file.sha256}",
        )
    nodes = tuple(good[asked.file_id])
    return OtherCopies(
        file_id=asked.file_id, nodes=nodes, why="" if nodes else "no other good copy is known"
    )


def _good_elsewhere(
    session: Session, settings: Settings, node_id: str, ids: Sequence[str], now: datetime
) -> dict[str, list[str]]:
    """By file: the other nodes that have a good copy now."""
    reachable = _reachable(session, settings, now)
    rows = session.execute(
        select(Copy.file_id, Copy.node_id, Copy.since)
        .where(Copy.file_id.in_(ids), Copy.node_id != node_id, Copy.state == "present")
        .order_by(Copy.node_id)
    )
    return _by_file(
        (file_id, other)
        for file_id, other, since in rows
        if other in reachable and _is_proven(reachable[other], since)
    )


def _by_file(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for file_id, node_id in pairs:
        found[file_id].append(node_id)
    return found


def _is_proven(returned_at: datetime | None, since: datetime) -> bool:
    return returned_at is None or since > returned_at


def _reachable(session: Session, settings: Settings, now: datetime) -> dict[str, datetime | None]:
    """Nodes that are neither down nor retired, each with since when its copies are doubtful."""
    cluster = session.get(ClusterState, 1)
    listening = None if cluster is None else cluster.listening_since
    return {
        node.node_id: node.returned_at
        for node in session.scalars(select(Node))
        if Keeper(
            node.node_id,
            node_states.state_of(signs_of(node), now, settings.dead_after, listening),
        ).reachable
    }
