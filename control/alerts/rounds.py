"""The worker's look at what is wrong: read, judged, told to whom the settings name."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from control.alerts import channels, outbox, standing, store, text
from control.alerts.judgement import judge
from control.cluster import rosters
from control.db.database import Database
from control.db.deferred_log import log_on_commit
from control.settings import Settings
from portside.alerting.message import ToldAlert

EVERY = 30.0
"""Seconds between two looks: what holds for two minutes is seen four times by then."""

REPEAT = timedelta(days=1)
"""Where nobody is told, this is only noted."""


class AlertRounds:
    """Those of one worker. `portside-control alerts` lists what they found, also where nobody is
    told."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._heartbeat_at = 0.0

    def round(self, now: datetime) -> None:
        """Look once. Raises DatabaseUnavailable."""
        settings, bounds = self._settings, self._settings.alert_bounds
        reading = self._database.read(lambda session: store.read(session, now))
        reading = store.with_files(reading, settings)
        findings = tuple(judge(reading, bounds))
        repeat = REPEAT if settings.alerts is None else timedelta(seconds=settings.alerts.repeat)

        def work(session: Session) -> None:
            # Of two workers whose rounds meet, the second sees what the first has told.
            rosters.cluster_state(session)
            before = store.standing(session)
            outcome = standing.settle(before, findings, bounds.catalogue, now, repeat)
            store.keep(session, before, outcome.standing)
            store.sample(session, reading)
            if outcome.told:
                self._tell(session, outcome.told, now)

        self._database.write(work)
        self._show_life(now)

    def _tell(self, session: Session, told: tuple[ToldAlert, ...], now: datetime) -> None:
        for each in told:
            log_on_commit(
                session,
                f"alert {each.state}",
                level="info" if each.state == "ended" else "warning",
                alert=each.name,
                node=each.node_id,
                severity=each.severity,
                detail=each.detail,
            )
        message = text.of_alerts(self._settings.cluster, told, now)
        for channel in channels.names(self._settings.alerts):
            outbox.put(session, channel, message, now)

    def _show_life(self, now: datetime) -> None:
        """Tell that the rounds go on, to whoever is to notice when they don't."""
        wanted = self._settings.alerts
        if wanted is None or wanted.heartbeat is None or time.monotonic() < self._heartbeat_at:
            return
        self._heartbeat_at = time.monotonic() + wanted.heartbeat
        message = text.of_heartbeat(self._settings.cluster, now)
        self._database.write(
            lambda session: outbox.put(session, "webhook", message, now), durable=False
        )
