"""The node's heartbeats: one every `heartbeat_every` seconds, and what their answers bring.

A control plane that is away costs a line in the log, a warning and a metric, nothing else: uploads,
downloads and pushes go on. What was to be told is told when it is back.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from datetime import UTC, datetime

import structlog

from agent.cluster.roster import Rosters
from agent.heartbeat.client import ControlAway, ControlClient
from agent.heartbeat.holds import HoldOrders
from agent.heartbeat.inventory import InventoryComparison
from agent.heartbeat.leases import Leases
from agent.heartbeat.lifetimes import LifetimeOrders
from agent.heartbeat.payload import HeartbeatPayload
from agent.heartbeat.tombstones import TombstoneComparison
from agent.heartbeat.verdicts import ScanVerdicts
from agent.host.supervised_thread import Pulse
from agent.index import removals
from agent.index.database import Database
from agent.index.revocations import Revocations
from agent.outbox.deliveries import Outbox
from agent.outbox.events import RECEIPT
from agent.telemetry.clock import NodeClock
from agent.telemetry.worker_report import HeartbeatReport
from portside.backoff import Backoff, spread
from portside.wire.heartbeat import HeartbeatAnswer

_log = structlog.get_logger()

SHORTEST = 1.0
LONGEST = 300.0
"""Seconds between two heartbeats that the control plane may ask for."""

_FIRST_PAUSE = 1.0
"""Seconds after the first that wasn't answered; doubled with each, up to the period."""


class HeartbeatSender:
    """Sends one node's heartbeats, for as long as the worker runs."""

    def __init__(
        self,
        database: Database,
        rosters: Rosters,
        control: ControlClient,
        vitals: HeartbeatPayload,
        leases: Leases,
        lifetimes: LifetimeOrders,
        holds: HoldOrders,
        verdicts: ScanVerdicts,
        comparison: InventoryComparison,
        tombstones: TombstoneComparison,
        clock: NodeClock,
        every: float,
    ) -> None:
        self._database = database
        self._rosters = rosters
        self._control = control
        self._vitals = vitals
        self._leases = leases
        self._lifetimes = lifetimes
        self._holds = holds
        self._verdicts = verdicts
        self._comparison = comparison
        self._tombstones = tombstones
        self._clock = clock
        self._revocations = Revocations(database)
        self._every = self._period = every
        self._trouble: ControlAway | None = None
        self._url: str | None = None
        self._answered_at: float | None = None
        self._answered = self._failed = self._missed = 0

    def run(self, pulse: Pulse) -> None:
        """Send heartbeats until the worker is to stop; none while no control plane is known."""
        while not pulse.stopped:
            self._url = self._rosters.current().control_url
            if self._url is not None:
                self._beat(self._url, pulse)
            pulse.wait(pause(self._missed, self._period, random.random()))  # noqa: S311 (jitter)

    def report(self) -> HeartbeatReport:
        """How it goes."""
        trouble = self._trouble
        return HeartbeatReport(
            control_url=self._url,
            silent_seconds=(
                None if self._answered_at is None else time.monotonic() - self._answered_at
            ),
            answered=self._answered,
            failed=self._failed,
            trouble="" if trouble is None else str(trouble),
            clock_skew=self._clock.skew,
            leases=self._leases.unfinished(),
        )

    def _beat(self, url: str, pulse: Pulse) -> None:
        # Work first: a lease that found a file deleted must not be told before the deletion is.
        work = self._leases.to_tell()
        tellings = removals.to_tell(self._database)
        kept = self._lifetimes.to_tell()
        holds = self._holds.to_tell()
        verdicts = self._verdicts.to_tell(int(time.time()))
        heartbeat = self._vitals.heartbeat(
            self._rosters.current().version,
            work,
            [each.file for each in tellings],
            lifetimes=kept,
            holds=holds,
            verdicts=verdicts,
        )
        pulse.beat()
        began = time.monotonic()
        try:
            answer = self._control.send(url, heartbeat, lambda: pulse.stopped)
        except ControlAway as away:
            if not pulse.stopped:
                self._not_answered(url, away)
            return
        pulse.beat()
        # The answer was written halfway between, on the average.
        way = (time.monotonic() - began) / 2
        self._clock.heard((datetime.now(UTC) - answer.now).total_seconds() - way)
        try:
            self._leases.told([each.lease_id for each in work])
            removals.told(self._database, tellings)
            self._lifetimes.take(kept, answer.lifetimes)
            self._holds.told(holds)
            # Before all else: whoever took a file down waits for it.
            self._holds.take(answer.holds)
            self._verdicts.told(verdicts, answer.verdicts, int(time.time()))
            self._verdicts.learned(answer.learned_at, int(time.time()))
            pulse.beat()
            self._take(answer)
        except (sqlite3.OperationalError, OSError) as error:
            # A disk that is full: what wasn't kept comes again, what was told is told again.
            _log.error("a heartbeat's answer wasn't kept", error=str(error))
        if self._trouble is not None:
            self._comparison.hasten()
        self._comparison.heard(url, heartbeat.inventory, answer.inventory)
        self._tombstones.heard(url, answer.learned_at, answer.now)
        self._period = bounded(answer.next_in, self._every)
        self._was_answered(url)

    def _take(self, answer: HeartbeatAnswer) -> None:
        """What the answer brings. Raises OSError or sqlite3.OperationalError."""
        revoked = self._revocations.add(answer.revoked)
        if revoked:
            _log.info("tokens revoked", tokens=revoked)
        if answer.roster is not None:
            self._rosters.receive(answer.roster)
        self._leases.take(answer.work, answer.now)

    def _was_answered(self, url: str) -> None:
        if self._trouble is not None or self._answered_at is None:
            _log.info("control plane answers", url=url)
            self._hasten_receipts()
        self._trouble = None
        self._answered_at = time.monotonic()
        self._missed = 0
        self._answered += 1

    def _hasten_receipts(self) -> None:
        """Receipts that were put off meanwhile: until they are in, files seem to lack copies."""
        try:
            Outbox(self._database).hasten(RECEIPT)
        except sqlite3.OperationalError as error:
            _log.error("receipts wait for their turn", error=str(error))

    def _not_answered(self, url: str, away: ControlAway) -> None:
        if self._trouble is None or self._trouble.kind != away.kind:
            _log.warning("control plane is away", url=url, kind=away.kind, error=str(away))
        self._trouble = away
        self._missed += 1
        self._failed += 1


def bounded(seconds: float, every: float) -> float:
    """The pause that an answer asks for, within SHORTEST and LONGEST; what is no time is `every`.

    The node's own period may lie outside of them.
    """
    if not math.isfinite(seconds):
        return every
    return min(max(seconds, min(SHORTEST, every)), max(LONGEST, every))


def pause(missed: int, period: float, chance: float) -> float:
    """Seconds until the next heartbeat after `missed` in a row; `chance` is from 0 to 1.

    Nodes that were started together don't stay together, and come back to a control plane that was
    away one after the other, none later than its period.
    """
    if not missed:
        return spread(period, (0.9, 1.0), chance)
    return Backoff(_FIRST_PAUSE, period, (0.5, 1.0)).pause(missed, chance)
