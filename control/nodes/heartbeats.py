"""Heartbeats: who sent one is proved, what it tells is kept, what there is for the node goes back.

A heartbeat counts once. Its signature covers the body; its moment must be within five minutes of
this clock and later than the last one's, which the database decides: of two that come at the same
time, or of one that comes twice, the second changes nothing and gets nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from control.catalogue import inventory
from control.cluster import rosters
from control.cluster.read_model import KnownNode
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.database import Database
from control.db.deferred_log import log_on_commit
from control.db.models import Moment, Node
from control.files import receipts
from control.nodes import authentication, removals
from control.nodes.runs import Runs
from control.problems import ProblemError
from control.replication import leases
from control.settings import Settings
from portside.tokens import HEARTBEAT_SKEW
from portside.wire.heartbeat import GoneFile, Heartbeat, HeartbeatAnswer, Lease, WorkDone

AT_WORK = 5.0
"""Seconds between two heartbeats of a node that has work: as often as more is ordered."""

# Made once: putting a statement together takes longer than the database takes to carry it out.
_KEEP = (
    update(Node)
    .where(
        Node.node_id == bindparam("node"),
        or_(Node.sent_at.is_(None), Node.sent_at < bindparam("moment", type_=Moment())),
    )
    .returning(Node.down_since)
)


class Heartbeats:
    """Takes heartbeats in and answers them. Thread-safe."""

    def __init__(
        self, settings: Settings, database: Database, snapshots: Snapshots, runs: Runs
    ) -> None:
        self._runs = runs
        self._settings = settings
        self._database = database
        self._snapshots = snapshots

    def receive(self, node_id: str, token: str, body: bytes, now: datetime) -> HeartbeatAnswer:
        """Take a heartbeat's body, sent for `node_id` under `token`.

        Raises ProblemError, with nothing changed, and DatabaseUnavailable.
        """
        snapshot = self._snapshots.current()
        node = authentication.sender(snapshot, node_id)
        beat = _proven(node, token, body, now)
        self._runs.heard(node_id, beat.run, now)
        authentication.refuse_twins(self._runs, node_id, now)
        # Before the work: of a copy that was to go and was deleted for good, both are told.
        for each in beat.gone:
            self._hear(beat, each, now)
        # Each piece of work in a transaction of its own: what is settled stays settled, also when
        # the heartbeat itself then turns out to be a replay.
        for done in beat.work:
            self._settle(snapshot, node_id, done, now)
        work, believed = self._database.write(
            lambda session: (
                self._keep(session, beat, snapshot.roster.version, now),
                inventory.digest(session, node_id),
            ),
            # What a node tells it tells again; only that a lease was given out must last.
            durable=False,
        )
        if node.state == "down":
            self._snapshots.forget()
            snapshot = self._snapshots.current()
        newer = snapshot.roster.version > beat.roster_version
        return HeartbeatAnswer(
            now=now,
            roster=snapshot.roster if newer else None,
            revoked=snapshot.revoked,
            work=tuple(work),
            # The files of a machine that only passes for the node would be taken for the node's.
            inventory=believed if self._runs.is_settled(node_id, now) else None,
            # Whoever has work comes sooner: what is done makes room for more.
            next_in=min(self._settings.heartbeat_every, AT_WORK)
            if work
            else self._settings.heartbeat_every,
        )

    def _keep(
        self, session: Session, beat: Heartbeat, published: int, now: datetime
    ) -> Sequence[Lease]:
        """Note down what the node tells, and lease work to it."""
        told = {
            "node": beat.node_id,
            "moment": beat.sent_at,
            "sent_at": beat.sent_at,
            "heard_at": now,
            "heartbeat": beat.model_dump_json(exclude={"work", "gone"}),
            "disk_free": beat.disk_free,
            "disk_total": beat.disk_total,
            "disk_reserved": beat.disk_reserved,
            "active_uploads": beat.active_uploads,
            "accepting": beat.accepting,
        }
        kept = session.connection().execute(_KEEP, told).one_or_none()
        if kept is None:
            raise ProblemError(
                "heartbeat-replayed", "a heartbeat of this moment or a later one was seen before"
            )
        if kept.down_since is not None:
            session.execute(
                update(Node)
                .where(Node.node_id == beat.node_id)
                .values(down_since=None)
                .execution_options(synchronize_session=False)
            )
            rosters.changed(session, now)
            log_on_commit(
                session, "node is back", node=beat.node_id, down_since=str(kept.down_since)
            )
        if beat.roster_version > published:
            rosters.overtake(session, beat.roster_version, now)
        return leases.grant(session, beat.node_id, now)

    def _hear(self, beat: Heartbeat, each: GoneFile, now: datetime) -> None:
        """Take over what a node says of one file, unless it comes too late.

        A replay would undo a repair that came after it. Cut off before `_keep`, it is told again.
        """

        def work(session: Session) -> None:
            latest = session.scalar(select(Node.sent_at).where(Node.node_id == beat.node_id))
            if latest is None or latest < beat.sent_at:
                removals.hear(session, beat.node_id, each, now)

        self._database.write(work)

    def _settle(self, snapshot: Snapshot, node_id: str, done: WorkDone, now: datetime) -> None:
        """Take one lease's end. A receipt that doesn't hold makes it a failure, said in the log."""
        proof, detail = None, done.detail
        if done.receipt is not None:
            try:
                proof = receipts.verify(snapshot, done.receipt, now)
            except ProblemError as problem:
                detail = f"receipt refused: {problem.detail}"

        def work(session: Session) -> None:
            arrived, told = False, detail
            if proof is not None:
                try:
                    arrived = leases.fits(
                        session, node_id, done.lease_id, proof.node_id, proof.claims
                    )
                    receipts.register(session, self._settings, proof, now, ordered=arrived)
                except ProblemError as problem:
                    arrived, told = False, f"receipt refused: {problem.detail}"
            settled = done.model_copy(update={"detail": told[:500]})
            leases.settle(session, node_id, settled, arrived, now)

        self._database.write(work)


def _proven(node: KnownNode, token: str, body: bytes, now: datetime) -> Heartbeat:
    """The heartbeat, once it is certain that this node sent it and just now."""
    beat = authentication.proven(node, token, body, Heartbeat, now)
    if abs(beat.sent_at - now) > timedelta(seconds=HEARTBEAT_SKEW):
        raise ProblemError(
            "token-claims", f"'sent_at' is more than {HEARTBEAT_SKEW} s off: check both clocks"
        )
    return beat
