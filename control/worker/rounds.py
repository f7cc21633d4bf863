"""What the worker does again and again: each routine every so many seconds, one after the other.

Of several workers on one database one goes the round: who takes the row of the cluster first
(`claim`). Each routine is a function of a `Round`; to add one, put it into `ROUTINES`, or into
`of_copies` if it remembers something.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from control.alerts import rounds as alerts
from control.alerts.rounds import AlertRounds
from control.catalogue import inventory
from control.cluster import own_clock, rosters
from control.cluster.rosters import RosterUnusable
from control.cluster.snapshot import Snapshots
from control.db.database import Database, DatabaseUnavailable
from control.db.deferred_log import log_on_commit
from control.db.models import Node
from control.moves.worker import MoveRounds
from control.replication import leases
from control.replication.draining import DrainRounds
from control.replication.repair import RepairRounds
from control.settings import Settings
from control.worker import expiry, recount, set_back
from portside.clock import ClockWatch
from portside.tokens import LEEWAY

_log = structlog.get_logger()

EVERY = 5.0
"""Seconds between two rounds."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a routine works on."""

    settings: Settings
    database: Database
    now: datetime


@dataclass(frozen=True, slots=True)
class Routine:
    """Something that is done every so many seconds; 0 is in each round."""

    name: str
    every: float
    run: Callable[[Round], object]
    ends: bool = False
    """Whether it ends by the clock what nobody can bring back: not by one that is doubtful."""


def claim(settings: Settings, database: Database, now: datetime, every: float = EVERY) -> bool:
    """Whether this worker goes the round that is due. Raises DatabaseUnavailable.

    After a time without rounds nobody can say which node was silent: what counts as silence begins
    anew, so that a control plane that was away doesn't find every node dead. A last round that lies
    ahead shows that the clock was: then nothing waits for that moment (`control.worker.set_back`).
    """

    def work(session: Session) -> bool:
        state = rosters.cluster_state(session)
        since = None if state.rounds_at is None else (now - state.rounds_at).total_seconds()
        if since is not None and since < -LEEWAY:
            set_back.bring_back(session, now)
            log_on_commit(session, "clock was set back", seconds=round(-since, 1))
            state = rosters.cluster_state(session)
        elif since is not None and since < every * 0.9:
            return False
        if since is None or since < 0 or since > max(settings.dead_after / 2, 2 * every):
            state.listening_since = now
        state.rounds_at = now
        return True

    return database.write(work, durable=False)


def follow_roster(round_: Round) -> None:
    """Take over what a deploy wrote."""
    try:
        deployed = rosters.read(round_.settings.roster)
    except RosterUnusable as unusable:
        # The nodes that are known stay known.
        _log.error("roster can't be used", error=str(unusable))
        return
    round_.database.write(lambda session: rosters.take_over(session, deployed, round_.now))


def notice_silence(round_: Round) -> None:
    """Mark nodes that have not been heard for too long: from now on they are down."""

    def work(session: Session) -> Sequence[str]:
        listening = rosters.cluster_state(session).listening_since or round_.now
        silent_since = round_.now - timedelta(seconds=round_.settings.dead_after)
        if listening > silent_since:
            return ()
        went = session.scalars(
            update(Node)
            .where(
                Node.in_roster,
                Node.wanted != "retired",
                Node.down_since.is_(None),
                func.coalesce(Node.heard_at, Node.wanted_at) < silent_since,
            )
            .values(down_since=round_.now)
            .returning(Node.node_id)
            .execution_options(synchronize_session=False)
        ).all()
        if went:
            rosters.changed(session, round_.now)
        return went

    # Most rounds find nobody, and nothing is written for that.
    if not round_.database.read(lambda session: _somebody_silent(session, round_)):
        return
    for node_id in round_.database.write(work):
        _log.warning("node is down", node=node_id)


def _somebody_silent(session: Session, round_: Round) -> bool:
    silent_since = round_.now - timedelta(seconds=round_.settings.dead_after)
    return (
        session.scalars(
            select(Node.node_id)
            .where(
                Node.in_roster,
                Node.wanted != "retired",
                Node.down_since.is_(None),
                func.coalesce(Node.heard_at, Node.wanted_at) < silent_since,
            )
            .limit(1)
        ).first()
        is not None
    )


def give_back(round_: Round) -> None:
    """Have leases wait again that their nodes don't settle."""
    round_.database.write(lambda session: leases.give_back_expired(session, round_.now))


def expire(round_: Round) -> None:
    """Give back what sessions hold that are over, and expect no more what didn't come."""
    count = expiry.expire_sessions(round_.database, round_.now)
    if count:
        _log.info("sessions expired", count=count)
    expiry.give_up_copies(round_.database, round_.now)
    count = expiry.end_files(round_.database, round_.now, round_.settings.lifetimes.grace)
    if count:
        _log.info("files ended", count=count)


def checkpoint(round_: Round) -> None:
    """Keep SQLite's log short, so that no request has to."""
    round_.database.checkpoint()


def fold_inventories(round_: Round) -> None:
    """Keep short what each heartbeat reads to know what its node should have."""
    for node_id in round_.database.read(inventory.to_fold):
        while (
            round_.database.write(partial(inventory.fold, node_id=node_id)) == inventory.MOST_FOLDED
        ):
            pass


def count_usage(round_: Round) -> None:
    """Count again what owners and apps have."""
    for wrong in recount.put_usage_right(round_.database):
        _log.error("usage was wrong", was=str(wrong))


def purge(round_: Round) -> None:
    """Remove rows that nobody asks for any more."""
    expiry.purge(round_.database, round_.now)


def own_clock_error(session: Session) -> float | None:
    """Seconds by which this clock seems to be ahead of the nodes' (`control.cluster.own_clock`)."""
    skews = session.scalars(
        select(Node.clock_skew).where(
            Node.in_roster, Node.down_since.is_(None), Node.clock_skew.is_not(None)
        )
    )
    return own_clock.error([skew for skew in skews if skew is not None])


ROUTINES: tuple[Routine, ...] = (
    Routine("roster", 0, follow_roster),
    Routine("silence", 0, notice_silence),
    Routine("checkpoint", 0, checkpoint),
    Routine("leases", 15, give_back),
    Routine("expiry", 15, expire, ends=True),
    Routine("inventories", 15, fold_inventories),
    # It reads every file's row: a second for a million of them, four times a day.
    Routine("usage", 6 * 3600, count_usage),
    Routine("purge", 3600, purge, ends=True),
)


def of_copies(
    settings: Settings, database: Database, clock: Callable[[], datetime]
) -> tuple[Routine, ...]:
    """Repair, drains, moves, forgetting and alerts: they remember between two rounds."""
    snapshots = Snapshots(settings, database, clock)
    repair = RepairRounds(database, settings, snapshots)
    drains = DrainRounds(database, settings, snapshots)
    moves = MoveRounds(database, settings, snapshots)
    forgetting = expiry.Forgetting(database)
    alerting = AlertRounds(settings, database)
    return (
        Routine("repair", 0, lambda round_: repair.round(round_.now)),
        Routine("drains", 0, lambda round_: drains.round(round_.now)),
        Routine("moves", 0, lambda round_: moves.round(round_.now)),
        Routine("forgetting", 60, lambda round_: forgetting.round(round_.now), ends=True),
        Routine("alerts", alerts.EVERY, lambda round_: alerting.round(round_.now)),
    )


class Rounds:
    """The rounds of one worker."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Callable[[], datetime],
        routines: Sequence[Routine] | None = None,
        watch: ClockWatch | None = None,
    ) -> None:
        """`routines` are all that there are unless given."""
        self._settings = settings
        self._database = database
        self._clock = clock
        self._routines = routines or (*ROUTINES, *of_copies(settings, database, clock))
        self._due: dict[str, float] = {}
        self._watch = watch or ClockWatch()

    def go(self) -> bool:
        """Go a round if it is this worker's; returns whether it was.

        A database that is away ends the round; the next one begins anew.
        """
        try:
            step = self._watch.look()
            if step:
                _log.warning("clock was set", seconds_ahead=round(step, 1))
            if not claim(self._settings, self._database, self._clock()):
                return False
            trusted = self._watch.is_settled and self._database.read(own_clock_error) is None
            for routine in self._routines:
                if routine.ends and not trusted:
                    continue
                if time.monotonic() >= self._due.get(routine.name, 0):
                    self._due[routine.name] = time.monotonic() + routine.every
                    routine.run(Round(self._settings, self._database, self._clock()))
        except DatabaseUnavailable:
            return False
        return True
