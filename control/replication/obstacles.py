"""What keeps files from going on, in words for people: asked of the first of them, changes nothing.

The rounds of repair and drains leave a file alone for as long as nothing can be ordered for it, and
come back to it. Here the same questions are put once more, to say which of them has no answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db import models
from control.replication import reconcile
from control.replication.cluster_view import ClusterView
from control.replication.policy import CopyOnNode, Standing
from portside.quantities import format_size

LOOKED_AT = 100
"""Files that are asked about: some tens of milliseconds."""

_MOST_NODES = 5
"""Nodes that one reason names."""

_UNDER_WAY = text("work.state IN ('waiting', 'leased')")


def of_files(
    session: Session, view: ClusterView, file_ids: Sequence[str], leaving: str | None = None
) -> tuple[str, ...]:
    """Why these files don't go on, each reason with how many; of those that do nothing is said.

    `leaving` is the node that is to lose its copies, if one is.
    """
    found: Counter[str] = Counter()
    for file in session.scalars(select(models.File).where(models.File.file_id.in_(file_ids))):
        why = _of_file(session, view, file, leaving)
        if why is not None:
            found[why] += 1
    return tuple(
        f"1 file has {why}" if count == 1 else f"{count} files have {why}"
        for why, count in found.most_common()
    )


def _of_file(
    session: Session, view: ClusterView, file: models.File, leaving: str | None
) -> str | None:
    if file.state != "committed":
        return None
    if file.has_ended(datetime.now(UTC)):
        return "come to its end: it goes with its grace" if leaving is not None else None
    if file.vouched_by is not None:
        return (
            f"nothing but {file.vouched_by}'s word for what it is: `portside-control believe "
            f"{file.vouched_by}`, if nobody but you ever had that node"
        )
    on_nodes, standing = view.standing(session, file)
    failing = session.execute(
        select(models.Work.place, models.Work.attempts, models.Work.detail).where(
            models.Work.file_id == file.file_id,
            models.Work.kind == "replicate",
            models.Work.attempts >= reconcile.FAILED,
            _UNDER_WAY,
        )
    ).first()
    if failing is not None:
        return f"failed to be copied to {failing.place}: {failing.detail or 'nobody says why'}"
    if standing.wanted:
        return _why_not_ordered(session, view, file, on_nodes, standing)
    if leaving is not None and not standing.may_go(leaving):
        return _why_needed(view, on_nodes, leaving)
    return None


def _why_not_ordered(
    session: Session,
    view: ClusterView,
    file: models.File,
    on_nodes: list[CopyOnNode],
    standing: Standing,
) -> str | None:
    """Why no further copy is ordered; None where it is only a matter of turns."""
    if not standing.good:
        return "no good copy that could be copied"
    taken = reconcile.path_taken(session, file)
    holding = {each.node_id for each in on_nodes if each.state not in ("lost", "gone")}
    if view.place(file.size, {*holding, *taken}) is not None:
        return None
    reasons = []
    for node_id, node in sorted(view.snapshot.nodes.items()):
        if node_id in holding or not node.signs.in_roster:
            continue
        if node_id in taken:
            reasons.append(f"{node_id} has another file of that name")
        elif node.reasons:
            reasons.append(f"{node_id} takes none ({node.reasons[0]})")
        else:
            # Not the file's own size: one reason for all that are too large.
            room = max((each.room for each in view.places if each.node_id == node_id), default=0)
            reasons.append(f"{node_id} has {format_size(max(0, room))} of room left")
    others = "; ".join(reasons[:_MOST_NODES]) or "there is no other node"
    return f"no node to go to: {others}"


def _why_needed(view: ClusterView, on_nodes: list[CopyOnNode], leaving: str) -> str | None:
    """Why this node's copy is still needed, though copies enough are there or coming."""
    reasons = []
    for each in sorted(on_nodes, key=lambda copy: copy.node_id):
        keeper = view.keepers[each.node_id]
        if each.node_id == leaving or each.state != "present":
            continue
        if not keeper.reachable:
            reasons.append(f"{each.node_id}, which is {keeper.state}")
        elif not each.proven:
            reasons.append(f"{each.node_id}, which has yet to show that it still has them")
    return f"to wait for copies on {' and on '.join(reasons)}" if reasons else None


def of_short_files(session: Session, view: ClusterView) -> tuple[str, ...]:
    """Why files that lack copies don't get them, those with the fewest first."""
    short = session.scalars(
        select(models.File.file_id)
        .where(copies.SHORT)
        .order_by(models.File.present, models.File.file_id)
        .limit(LOOKED_AT)
    ).all()
    vouched = tuple(
        f"{count} files are known by {node_id}'s word alone and are not copied: "
        f"`portside-control believe {node_id}`, if nobody but you ever had that node"
        for node_id, count in by_one_nodes_word(session)
    )
    return of_files(session, view, short) + vouched


def by_one_nodes_word(session: Session) -> list[tuple[str, int]]:
    """Nodes, and how many files there are by the word of each alone (`control.files.vouching`)."""
    rows = session.execute(
        select(models.File.vouched_by, func.count())
        .where(models.File.vouched_by.is_not(None), models.File.state == "committed")
        .group_by(models.File.vouched_by)
        .order_by(models.File.vouched_by)
    )
    return [(str(node_id), count) for node_id, count in rows]
