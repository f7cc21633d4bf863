"""What a heartbeat says of its node, gathered from where each thing is known."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from agent.heartbeat import web_status
from agent.heartbeat.web_status import WebSilent
from agent.host.served_certificate import ServedCertificate
from agent.host.statistics import Meter
from agent.index.database import Database
from agent.index.inventory_digest import Inventory
from agent.index.uploads import UploadIndex
from agent.replication.queue import Lag
from agent.settings import Settings
from agent.storage.quarantine import REASON_KEY
from agent.telemetry.worker_report import ScrubReport
from portside.alerting import outcomes
from portside.wire.heartbeat import (
    MOST_BEGUN,
    MOST_QUARANTINED,
    CertificateStatus,
    GoneFile,
    Heartbeat,
    HoldDone,
    LifetimeKept,
    QuarantinedFile,
    ScanVerdict,
    UploadCounts,
    WorkDone,
)
from portside.wire.status import InodeStatus, UploadStatus


@dataclass(frozen=True, slots=True)
class _Uploads:
    """What the web side's admission says, or that it says nothing."""

    accepting: bool
    reasons: tuple[str, ...]
    active: int
    slots: int
    reserved: int
    inodes: InodeStatus
    under_way: tuple[str, ...] | None = None
    counts: UploadCounts | None = None


class HeartbeatPayload:
    """One node's. `scrub`, `lag` and `certificate` ask the parts of the worker that know."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        scrub: Callable[[], ScrubReport],
        lag: Callable[[], Lag],
        certificate: Callable[[], ServedCertificate | None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._scrub = scrub
        self._lag = lag
        self._certificate = certificate
        self._meter = Meter(settings.root)
        self._inventory = Inventory(database)
        self._uploads_begun = UploadIndex(database)
        self._version = version("portside")
        self._run = secrets.token_hex(8)

    def heartbeat(
        self,
        roster_version: int,
        work: Sequence[WorkDone],
        gone: Sequence[GoneFile],
        holds: Sequence[HoldDone],
        verdicts: Sequence[ScanVerdict] = (),
        lifetimes: Sequence[LifetimeKept] = (),
    ) -> Heartbeat:
        """The node's state as of now. Raises sqlite3.Error."""
        figures, uploads = self._meter.measure(), self._uploads()
        scrub, lag = self._scrub(), self._lag()
        served = self._certificate()
        files, stored = self._database.rows(
            "SELECT count(*), total(size) FROM files WHERE state = 'COMMITTED'"
        )[0]
        return Heartbeat(
            node_id=self._settings.node_id,
            # Last of all: what was asked for above may have taken its time.
            sent_at=datetime.now(UTC),
            run=self._run,
            version=self._version,
            disk_free=figures.disk_free,
            disk_total=figures.disk_total,
            disk_reserved=uploads.reserved,
            inodes=uploads.inodes,
            iops=round(figures.iops, 1),
            memory_available=figures.memory_available,
            memory_total=figures.memory_total,
            load=round(figures.load, 2),
            active_uploads=uploads.active,
            upload_slots=uploads.slots,
            accepting=uploads.accepting,
            reasons=uploads.reasons,
            files=files,
            stored_bytes=int(stored),
            replication_waiting=lag.waiting,
            replication_oldest=round(lag.oldest, 1),
            scrub_damaged=scrub.quarantined,
            quarantined=self._quarantined(),
            scrub_oldest=round(scrub.oldest_unverified_age_seconds, 1),
            inventory=self._inventory.digest(),
            roster_version=roster_version,
            uploads=uploads.counts,
            certificate=None
            if served is None
            else CertificateStatus(begins=served.begins, ends=served.ends),
            work=tuple(work),
            gone=tuple(gone),
            lifetimes=tuple(lifetimes),
            holds=tuple(holds),
            begun=self._begun(uploads),
            verdicts=tuple(verdicts),
        )

    def _begun(self, uploads: _Uploads) -> tuple[str, ...] | None:
        """The tokens of every upload that has begun, unless that can't be told.

        The rows come last: an upload that ends a request meanwhile is in them.
        """
        if uploads.under_way is None:
            return None
        found = {*uploads.under_way, *self._uploads_begun.begun()}
        return tuple(sorted(found)) if len(found) <= MOST_BEGUN else None

    def _quarantined(self) -> tuple[QuarantinedFile, ...]:
        rows = self._database.rows(
            "SELECT file_id, substr(path, 1, 1200), size, substr(coalesce(value, ''), 1, 300) "
            "FROM files LEFT JOIN notes ON key = ? || file_id "
            "WHERE state = 'QUARANTINED' AND state != 'COMMITTED' ORDER BY file_id LIMIT ?",
            (REASON_KEY, MOST_QUARANTINED),
        )
        return tuple(
            QuarantinedFile(file_id=file_id, path=path, size=size, reason=reason)
            for file_id, path, size, reason in rows
        )

    def _uploads(self) -> _Uploads:
        try:
            said = web_status.ask(self._settings.agent_socket)
        except WebSilent as silent:
            slots, kept = self._settings.sizing.upload_slots, self._settings.sizing.disk_kept_free
            reason = f"agent-silent: the agent's web side doesn't say how it is: {silent}"
            return _Uploads(
                accepting=False,
                reasons=(reason,),
                active=0,
                slots=slots,
                reserved=kept,
                inodes=InodeStatus(),
            )
        return _Uploads(
            accepting=said.accepting,
            reasons=said.reasons + said.shortages,
            active=said.slots.used,
            slots=said.slots.limit,
            # What is left of the free space is what admission would give to a new upload.
            reserved=said.disk.reserved + said.disk.kept_free,
            inodes=said.disk.inodes,
            under_way=said.under_way,
            counts=upload_counts(said),
        )


def upload_counts(said: UploadStatus) -> UploadCounts:
    """What the web side has counted, as alerts look at it."""
    ended = {slug: n for slug, n in said.failures.items() if slug not in outcomes.RESUMING}
    return UploadCounts(
        committed=said.committed,
        failed=sum(ended.values()),
        broken=sum(n for slug, n in ended.items() if slug in outcomes.BROKEN),
    )
