"""Heartbeats: who sent one is proved, what it tells is kept, what there is for the node goes back.

A heartbeat counts once. Its signature covers the body, which has the ticket that the last answer
brought; the database decides that it is the last one. Of two that come at the same time, or of one
that comes twice, the second changes nothing and gets nothing but the ticket. So no clock decides
what is new: a node whose clock is off is heard as any other, and how far it is off is noted.

Nodes of older releases have no tickets: of theirs the moments must rise.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import bindparam, or_, update
from sqlalchemy.orm import Session

from control.catalogue import holds, inventory
from control.cluster import node_states, rosters
from control.cluster.snapshot import Snapshot, Snapshots
from control.db.database import Database
from control.db.deferred_log import log_on_commit
from control.db.models import File, Moment, Node, UploadSession
from control.files import lifetimes, receipts, scans
from control.nodes import authentication, removals
from control.nodes.deletion_orders import DeletionOrders
from control.nodes.runs import Runs
from control.problems import ProblemError
from control.replication import leases
from control.sessions import unbegun
from control.settings import Settings
from portside.tokens import LEEWAY
from portside.wire.heartbeat import (
    GoneFile,
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LifetimeOrder,
    NodeHold,
    WorkDone,
)

_log = structlog.get_logger()

TICKET_BYTES = 12
"""Of randomness: a ticket that was lost is never guessed or met again."""

AT_WORK = 5.0
"""Seconds between two heartbeats of a node that has work: as often as more is ordered."""

_FOR_NOW = {"work", "gone", "lifetimes", "holds", "begun", "verdicts"}
"""Of a heartbeat: what is acted upon, and not kept."""

# Made once: putting a statement together takes longer than the database takes to carry it out.
_KEEP = update(Node).where(Node.node_id == bindparam("node")).returning(Node.down_since)
_KEEP_BY_TICKET = _KEEP.where(Node.ticket == bindparam("shown"))
_KEEP_BY_MOMENT = _KEEP.where(
    or_(
        Node.sent_at.is_(None),
        Node.sent_at < bindparam("moment", type_=Moment()),
        # Noted while one of the clocks was far ahead.
        Node.sent_at > bindparam("latest", type_=Moment()),
    )
)


class Heartbeats:
    """Takes heartbeats in and answers them. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        snapshots: Snapshots,
        runs: Runs,
        orders: DeletionOrders,
    ) -> None:
        self._orders = orders
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
        beat = authentication.proven(node, token, body, Heartbeat, now)
        authentication.refuse_twins(self._runs, node_id, now)
        skew = _skew(beat, now)
        # Before the work: of a copy that was to go and was deleted for good, both are told.
        for each in beat.gone:
            self._hear(snapshot, beat, each, now)
        # Each piece of work in a transaction of its own: what is settled stays settled, also when
        # the heartbeat itself then turns out to be a replay.
        for done in beat.work:
            self._settle(snapshot, node_id, done, now)
        if beat.lifetimes:
            self._database.write(lambda session: lifetimes.kept(session, node_id, beat.lifetimes))
        ticket = secrets.token_urlsafe(TICKET_BYTES)
        kept = self._database.write(
            lambda session: self._keep(session, beat, ticket, snapshot.roster.version, now),
            # What a node tells it tells again; only that a lease was given out must last. Of what
            # a scanner found it is told that it was heard.
            durable=bool(beat.verdicts),
        )
        if kept is None:
            return self._not_taken(node_id, now)
        if beat.begun is not None:
            unbegun.give_back(self._database, node_id, beat.begun, beat.sent_at, now)
        # Not before it has proved to be no replay.
        self._runs.heard(node_id, beat.run, now)
        authentication.refuse_twins(self._runs, node_id, now)
        if node_states.is_off(skew) != node_states.is_off(node.signs.clock_skew):
            _log.warning("node's clock", node=node_id, seconds_ahead=round(skew, 1))
            self._snapshots.forget()
        if node.state == "down":
            self._snapshots.forget()
            snapshot = self._snapshots.current()
        work, believed, ends, ordered, judged = kept
        newer = snapshot.roster.version > beat.roster_version
        return HeartbeatAnswer(
            now=now,
            ticket=ticket,
            roster=snapshot.roster if newer else None,
            revoked=snapshot.revoked,
            work=tuple(work),
            lifetimes=ends,
            holds=ordered,
            verdicts=judged,
            # The files of a machine that only passes for the node would be taken for the node's.
            inventory=believed if self._runs.is_settled(node_id, now) else None,
            learned_at=snapshot.learned_at,
            # Whoever has work comes sooner: what is done makes room for more.
            next_in=min(self._settings.heartbeat_every, AT_WORK)
            if work or ends or ordered
            else self._settings.heartbeat_every,
        )

    def _not_taken(self, node_id: str, now: datetime) -> HeartbeatAnswer:
        """The ticket that the next one must show; the node's first contact makes one."""
        fresh = secrets.token_urlsafe(TICKET_BYTES)

        def work(session: Session) -> str:
            node = session.get_one(Node, node_id, with_for_update=True, populate_existing=True)
            node.ticket = node.ticket or fresh
            return node.ticket

        ticket = self._database.write(work, durable=False)
        return HeartbeatAnswer(
            now=now, taken=False, ticket=ticket, next_in=self._settings.heartbeat_every
        )

    def _keep(
        self, session: Session, beat: Heartbeat, ticket: str, published: int, now: datetime
    ) -> (
        tuple[Sequence[Lease], str, Sequence[LifetimeOrder], tuple[NodeHold, ...], tuple[str, ...]]
        | None
    ):
        """Note down what the node tells, and lease work to it; None if its ticket isn't the last.

        Returns the leases, the digest of what should be there, the ends that are to be kept, what
        is to be held or released, and the files whose verdict was heard.
        """
        told = {
            "node": beat.node_id,
            "ticket": ticket,
            "sent_at": beat.sent_at,
            "clock_skew": _skew(beat, now),
            "heard_at": now,
            "heartbeat": beat.model_dump_json(exclude=_FOR_NOW),
            "disk_free": beat.disk_free,
            "disk_total": beat.disk_total,
            "disk_reserved": beat.disk_withheld,
            "active_uploads": beat.active_uploads,
            "accepting": beat.accepting,
        }
        if beat.ticket is None:
            _must_be_of_now(beat, now)
            by_moment = {"moment": beat.sent_at, "latest": now + timedelta(seconds=LEEWAY)}
            kept = session.connection().execute(_KEEP_BY_MOMENT, {**told, **by_moment})
        else:
            kept = session.connection().execute(_KEEP_BY_TICKET, {**told, "shown": beat.ticket})
        before = kept.one_or_none()
        if before is None:
            if beat.ticket is not None:
                return None
            raise ProblemError(
                "heartbeat-replayed", "a heartbeat of this moment or a later one was seen before"
            )
        if before.down_since is not None:
            session.execute(
                update(Node)
                .where(Node.node_id == beat.node_id)
                .values(down_since=None)
                .execution_options(synchronize_session=False)
            )
            rosters.changed(session, now)
            log_on_commit(
                session, "node is back", node=beat.node_id, down_since=str(before.down_since)
            )
        if beat.roster_version > published:
            rosters.overtake(session, beat.roster_version, now)
        judged = scans.hear(session, self._settings, beat.node_id, beat.verdicts, now)
        granted = [
            self._orders.ordered(session, lease, beat.node_id, now)
            for lease in leases.grant(session, beat.node_id, now)
        ]
        digest = inventory.digest(session, beat.node_id)
        holds.confirmed(session, beat.node_id, beat.holds)
        return (
            granted,
            digest,
            lifetimes.orders_for(session, beat.node_id),
            holds.orders(session, beat.node_id),
            judged,
        )

    def _hear(self, snapshot: Snapshot, beat: Heartbeat, each: GoneFile, now: datetime) -> None:
        """Take over what a node says of one file, unless it comes too late.

        A replay would undo a repair that came after it. Cut off before `_keep`, it is told again.
        """

        def is_proved(file: File | UploadSession) -> bool:
            return self._orders.prove(beat.node_id, each, file, snapshot.nodes)

        def work(session: Session) -> None:
            last = session.get_one(Node, beat.node_id, populate_existing=True)
            if beat.ticket is None:
                is_next = last.sent_at is None or last.sent_at < beat.sent_at
            else:
                is_next = last.ticket == beat.ticket
            if is_next:
                removals.hear(session, beat.node_id, each, now, is_proved)

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


def _skew(beat: Heartbeat, now: datetime) -> float:
    """Seconds by which the node's clock is ahead of ours, but for the way here."""
    return (beat.sent_at - now).total_seconds()


def _must_be_of_now(beat: Heartbeat, now: datetime) -> None:
    """Without a ticket an old heartbeat could be sent again once it is forgotten."""
    if abs(_skew(beat, now)) > LEEWAY:
        raise ProblemError(
            "token-claims",
            f"'sent_at' is more than {LEEWAY} s off, and there is no ticket: deploy the node anew, "
            "or check both clocks",
        )
