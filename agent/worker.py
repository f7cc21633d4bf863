"""The agent's worker: what a node does on its own, in a service of its own.

Rounds, scrubbing, deliveries, heartbeats and leases are threads that are watched: one that fails
ends the worker, so that systemd starts it anew; when one hangs, systemd's watchdog hears nothing
any more.
"""

from __future__ import annotations

import os
import queue
import signal
import sqlite3
import threading
import time
from collections.abc import Sequence
from functools import partial

import structlog
from gunicorn.systemd import sd_notify

from agent.cluster import identity
from agent.cluster.roster import Rosters
from agent.cold.worker import THREADS as COLD_THREADS
from agent.cold.worker import ColdTier
from agent.heartbeat.client import ControlClient
from agent.heartbeat.holds import HoldOrders
from agent.heartbeat.inventory import InventoryComparison
from agent.heartbeat.leases import Leases
from agent.heartbeat.lifetimes import LifetimeOrders
from agent.heartbeat.payload import HeartbeatPayload
from agent.heartbeat.sender import HeartbeatSender
from agent.heartbeat.tombstones import TombstoneComparison
from agent.heartbeat.verdicts import ScanVerdicts
from agent.hooks.deliverer import THREADS, Deliverer
from agent.hooks.scanner import THREADS as SCAN_THREADS
from agent.hooks.scanner import Scanner
from agent.host import linux
from agent.host.supervised_thread import SupervisedThread
from agent.index.database import Database
from agent.integrity import set_back
from agent.integrity.housekeeping import Housekeeping
from agent.integrity.lifetimes import LifetimeRounds
from agent.integrity.scrubber import Scrubber
from agent.integrity.settling_rounds import SettlingRounds
from agent.replication.queue import PushQueue
from agent.replication.worker import PushWorker
from agent.settings import Settings
from agent.storage import ending
from agent.storage.deletion import delete, remove_copy
from agent.storage.opening import open_index
from agent.telemetry import clock, worker_report
from agent.telemetry.clock import NodeClock
from agent.telemetry.span_export import SpanExport
from agent.telemetry.worker_report import (
    CertificateReport,
    HeartbeatReport,
    WorkerReport,
    cold_warnings,
    scan_warnings,
)
from portside.clock import ClockWatch, uptime
from portside.tokens import SigningKey

_log = structlog.get_logger()

REPORT_EVERY = 5.0
"""Seconds between two reports and pings; systemd's WatchdogSec is many times that."""

STUCK = 120.0
"""Seconds without a beat after which a thread counts as hanging."""

LAST_SECONDS = 5.0
"""What threads have to end in; a webhook or a disk that hangs is left alone then."""

_TICK = 1.0


class WorkerFailed(Exception):
    """A thread of the worker failed; the log says how."""


def run(settings: Settings) -> None:
    """Work until SIGTERM. Raises NodeUnfit when the data filesystem isn't there at the start,
    IdentityError without the node's key, TrustError without a certificate authority that is named
    in the settings, WorkerFailed when a part of the worker fails.
    """
    # A queue and not an event: its `put` may interrupt its `get`.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: signals.put(received))
    key = identity.follow(settings.node_key, settings.node_id)
    database = open_index(settings)
    worker = Worker(settings, database, key)
    # Building pydantic's validators leaves several MiB of freed memory behind.
    linux.trim_memory()
    worker.work(signals)
    if worker.ended():
        database.close()
    if failed := [each.name for each in worker.activities if each.failed]:
        raise WorkerFailed(f"{', '.join(failed)} failed: see the log")


class Worker:
    """The threads of the worker, and the one that watches them."""

    def __init__(self, settings: Settings, database: Database, key: SigningKey) -> None:
        self._settings = settings
        self._database = database
        rosters = Rosters(settings)
        last = worker_report.read(settings.worker_report)
        self._clock = NodeClock(
            ClockWatch()
            if last is None
            else ClockWatch(last=(last.time, last.uptime), set_at=last.clock_set_at),
            awaits_word=rosters.current().control_url is not None,
        )
        self._rounds = Housekeeping(settings, database, self._clock)
        self._lifetimes = LifetimeRounds(settings, database, self._clock)
        self._scrubber = Scrubber(settings, database)
        self._settling = SettlingRounds(settings, database, key)
        self._deliverer = Deliverer(settings, database, key)
        pushes = PushQueue(database)
        self._pusher = pusher = PushWorker(settings, database, key)
        leases = Leases(
            settings.node_id,
            database,
            pushes,
            partial(delete, settings, database),
            partial(remove_copy, settings, database),
        )
        control = ControlClient(settings.node_id, key, settings.ca)
        self._comparison = InventoryComparison(settings, database, control)
        tombstones = TombstoneComparison(settings, database, control)
        self._heartbeats = HeartbeatSender(
            database,
            rosters,
            control,
            HeartbeatPayload(
                settings,
                database,
                self._scrubber.report,
                pushes.lag,
                lambda: self._rounds.certificate,
            ),
            leases,
            LifetimeOrders(partial(ending.change, settings, database)),
            HoldOrders(settings, database),
            ScanVerdicts(database),
            self._comparison,
            tombstones,
            self._clock,
            settings.heartbeat_every,
        )
        self._cold = (
            None
            if settings.cold is None
            else ColdTier(settings, settings.cold, database, self._clock)
        )
        self._scanner = Scanner(settings, database) if settings.scanned else None
        self._spans = None if settings.otlp is None else SpanExport(settings, settings.otlp)
        self._stopping = threading.Event()
        self.activities = [
            SupervisedThread("rounds", self._rounds.run, self._stopping),
            SupervisedThread("lifetimes", self._lifetimes.run, self._stopping),
            SupervisedThread("scrubbing", self._scrubber.run, self._stopping),
            SupervisedThread("quarantine", self._settling.run, self._stopping),
            SupervisedThread("heartbeats", self._heartbeats.run, self._stopping),
            SupervisedThread("inventory", self._comparison.run, self._stopping),
            SupervisedThread("tombstones", tombstones.run, self._stopping),
            SupervisedThread("leases", leases.run, self._stopping),
            *(
                SupervisedThread(f"deliveries-{number}", self._deliverer.run, self._stopping)
                for number in range(1, THREADS + 1)
            ),
            *self._cold_activities(),
            *self._scan_activities(),
            *self._span_activities(),
            *(
                SupervisedThread(f"pushes-{number}", pusher.run, self._stopping)
                for number in range(1, pusher.threads + 1)
            ),
        ]

    def _cold_activities(self) -> list[SupervisedThread]:
        if self._cold is None:
            return []
        works = {
            "cold-sweep": self._cold.sweep,
            **{f"cold-{number}": self._cold.run for number in range(1, COLD_THREADS + 1)},
        }
        return [SupervisedThread(name, work, self._stopping) for name, work in works.items()]

    def _scan_activities(self) -> list[SupervisedThread]:
        if self._scanner is None:
            return []
        return [
            SupervisedThread(f"scans-{number}", self._scanner.run, self._stopping)
            for number in range(1, SCAN_THREADS + 1)
        ]

    def _span_activities(self) -> list[SupervisedThread]:
        if self._spans is None:
            return []
        return [SupervisedThread("spans", self._spans.run, self._stopping)]

    def work(self, signals: queue.SimpleQueue[int]) -> None:
        """Run every activity until a signal comes or one of them fails."""
        for each in self.activities:
            each.start()
        _notify("READY=1")
        _log.info(
            "worker ready",
            node=self._settings.node_id,
            activities=sorted({each.name.rstrip("-0123456789") for each in self.activities}),
        )
        report_at = 0.0
        while not self._stopping.is_set():
            step = self._clock.look()
            if step:
                _log.warning("clock was set", seconds_ahead=round(step, 1))
            if step < 0:
                self._bring_back()
            if time.monotonic() >= report_at:
                report_at = time.monotonic() + REPORT_EVERY
                stuck = [each.name for each in self.activities if each.pulse.age() > STUCK]
                self._report(stuck)
                if not stuck:
                    _notify("WATCHDOG=1")
            try:
                signals.get(timeout=_TICK)
            except queue.Empty:
                continue
            self._stopping.set()
        _notify("STOPPING=1")

    def _bring_back(self) -> None:
        try:
            set_back.bring_back(self._database, int(time.time()))
        except sqlite3.OperationalError as error:
            # A full disk: what waits for a moment of the future waits for it.
            _log.error("what was noted of the future stays", error=str(error))

    def ended(self) -> bool:
        """Whether every thread has ended, after giving them some seconds."""
        until = time.monotonic() + LAST_SECONDS
        late = [
            each.name
            for each in self.activities
            if not each.ended(max(0.0, until - time.monotonic()))
        ]
        if late:
            _log.warning("left behind", activities=late)
        return not late

    def _report(self, stuck: Sequence[str]) -> None:
        """Tell the web side. A full or broken disk is logged and outlived."""
        scrub, deliveries = self._scrubber.report(), self._deliverer.report()
        pushes = self._pusher.report()
        warnings = [*self._rounds.warnings]
        if stuck:
            warnings.append(
                f"worker-stuck: no sign of life from {', '.join(stuck)}: if that lasts, "
                "`systemctl restart portside-agent-worker`"
            )
        if scrub.quarantined:
            warnings.append(
                f"files-damaged: {scrub.quarantined} in quarantine, not served: "
                "see `portside-agent quarantine`, which settles each"
            )
        if deliveries.dead:
            warnings.append(
                f"deliveries-dead: {deliveries.dead} given up: see `portside-agent deliveries "
                "list`, then `portside-agent deliveries retry`, or drop"
            )
        heartbeats = self._heartbeats.report()
        off = clock.warning(heartbeats.clock_skew)
        if off is not None:
            warnings.append(off)
        if heartbeats.trouble:
            warnings.append(f"control-away: {_silence(heartbeats)}: {heartbeats.trouble}")
        cold = None if self._cold is None else self._cold.report()
        if cold is not None:
            warnings += cold_warnings(cold)
        scan = None if self._scanner is None else self._scanner.report()
        if scan is not None:
            warnings += scan_warnings(scan)
        if pushes.dead:
            warnings.append(
                f"pushes-dead: {pushes.dead} copies given up: see `portside-agent pushes list`, "
                "then `portside-agent pushes retry`, or drop"
            )
        served = self._rounds.certificate
        report = WorkerReport(
            time=time.time(),
            uptime=uptime(),
            clock_set_at=self._clock.set_at,
            warnings=tuple(warnings),
            scrub=scrub,
            deliveries=deliveries,
            heartbeats=heartbeats,
            cold=cold,
            scan=scan,
            pushes=pushes,
            spans=None if self._spans is None else self._spans.report(),
            certificate=None
            if served is None
            else CertificateReport(begins=served.begins.timestamp(), ends=served.ends.timestamp()),
            expired_uploads=self._rounds.expired_uploads,
            purged_tombstones=self._rounds.purged_tombstones,
        )
        try:
            worker_report.write(self._settings.worker_report, report)
        except OSError as error:
            _log.warning("worker can't report", error=str(error))


def _silence(heartbeats: HeartbeatReport) -> str:
    """For how long the control plane has been away, in words."""
    if heartbeats.silent_seconds is None:
        return f"{heartbeats.control_url} has answered no heartbeat yet"
    return (
        f"{heartbeats.control_url} answered the last heartbeat "
        f"{heartbeats.silent_seconds:.0f} s ago"
    )


def _notify(state: str) -> None:
    if os.environ.get("NOTIFY_SOCKET"):
        sd_notify(state, _log)
