"""The worker's rounds: every 30 seconds the disk is proved, and what nobody needs is removed."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime

import structlog

from agent.host import served_certificate
from agent.host.served_certificate import ServedCertificate
from agent.host.supervised_thread import Pulse
from agent.index.database import Database
from agent.index.uploads import UploadIndex
from agent.integrity.recovery import sweep_staging
from agent.settings import Settings
from agent.storage.quarantine import finish_quarantines
from agent.storage.reserve import Reserve
from agent.storage.staging import DiskFailed, DiskFull, is_live
from agent.storage.tombstones import purge
from agent.telemetry.clock import NodeClock
from agent.telemetry.health import NodeUnfit, check_marker, check_write

_log = structlog.get_logger()

INTERVAL = 30
"""Seconds between two rounds."""

SLOW_WRITE = 5.0
"""Seconds for one small durable write, above which the disk is reported as slow."""

PURGE_EVERY = 6 * 3600
"""Seconds between two looks at every tombstone."""

CERTIFICATE_EVERY = 600
"""Seconds between two looks at what nginx serves: a renewal is seen before anybody is alerted."""


class Housekeeping:
    """Housekeeping on one node, and what the last of them found."""

    def __init__(self, settings: Settings, database: Database, clock: NodeClock) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._reserve = Reserve(settings)
        self._purge_at = 0.0
        self._certificate_at = 0.0
        self.certificate: ServedCertificate | None = None
        self.warnings: tuple[str, ...] = ()
        self.expired_uploads = 0
        self.purged_tombstones = 0

    def run(self, pulse: Pulse) -> None:
        """Go round until the worker is to stop."""
        while not pulse.stopped:
            self._look_at_certificate()
            self.warnings = tuple(self._round(pulse))
            for warning in self.warnings:
                _log.warning("worker found", warning=warning)
            pulse.wait(INTERVAL)

    def _look_at_certificate(self) -> None:
        """Again each round while there is none: nginx may come after the worker."""
        if self.certificate is None or time.monotonic() >= self._certificate_at:
            self.certificate = served_certificate.look(self._settings.public_base_url)
            self._certificate_at = time.monotonic() + CERTIFICATE_EVERY

    def _round(self, pulse: Pulse) -> list[str]:
        """One round; returns warnings in words for people."""
        warnings = []
        started = time.monotonic()
        try:
            check_marker(self._settings)
            check_write(self._settings)
        except NodeUnfit as unfit:
            # Nothing may be judged or removed on a disk that isn't there.
            return [f"disk-unfit: {unfit}"]
        seconds = time.monotonic() - started
        if seconds > SLOW_WRITE:
            warnings.append(f"disk-slow: a small durable write took {seconds:.1f} s")
        try:
            # On a full disk above all: what is expired gives its room back.
            self._reserve.spend(lambda: self._tidy(pulse))
            self._reserve.refill()
            self._database.hold_room()
        except (OSError, DiskFull, DiskFailed, sqlite3.Error) as error:
            warnings.append(f"sweep-failed: {error}: `portside-agent fsck` looks at everything")
        return warnings

    def _tidy(self, pulse: Pulse) -> None:
        believed = self._clock.is_believed
        if believed:
            self.expired_uploads += expire(self._settings, self._database)
        sweep_staging(self._settings, self._database)
        pulse.beat()
        # One whose move failed is served until it is moved.
        finish_quarantines(self._settings, self._database)
        pulse.beat()
        if believed and time.monotonic() >= self._purge_at:
            self.purged_tombstones += purge(
                self._settings, self._database, datetime.now(UTC), pulse.beat
            )
            self._purge_at = time.monotonic() + PURGE_EVERY


def expire(settings: Settings, database: Database) -> int:
    """End every upload that is past its deadline and not being written; returns how many.

    Its bytes go with the next sweep of staging, which finds that nothing needs them. Its row stays
    for a day: whoever comes late hears 410 instead of 404. Raises sqlite3.Error.
    """
    uploads = UploadIndex(database)
    ended = 0
    for upload in uploads.overdue():
        # A body in flight is never cut, whatever the time; nor is what is being committed.
        if not is_live(settings.staging / upload.staging) and not uploads.is_being_stored(upload):
            uploads.end(upload.upload_id)
            ended += 1
            _log.info("upload expired", upload_id=upload.upload_id, bytes=upload.offset)
    uploads.forget_old()
    return ended
