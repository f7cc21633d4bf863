"""`state/worker.json`: what the worker last found and did, for the web side's probes and metrics.

Written whole by the worker every few seconds, read at any time. Counts start at zero with each
start of the worker; how many wait, are dead or in quarantine is what the index says now.
"""

from __future__ import annotations

import math
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from portside.clock import uptime
from portside.durable_file import NO_ROOM

SILENCE = 300.0
"""Seconds after which a worker that reports every few counts as gone."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class ScrubReport(_Part):
    """How far the reading of stored files is. Bytes and seconds."""

    files_verified: int = 0
    bytes_read: int = 0
    damaged: int = 0
    """Files found damaged since the worker's start."""
    quarantined: int = 0
    """Files that are in quarantine now."""
    oldest_unverified_age_seconds: float = 0.0
    """Since the last reading of the file that was read longest ago, or since its commit."""
    current_file: str | None = None
    """The id of the file that is being read."""
    progress: float | None = None
    """How much of that file has been read, from 0 to 1."""


class DeliveriesReport(_Part):
    """What became of hooks' deliveries."""

    waiting: int = 0
    dead: int = 0
    delivered: int = 0
    """Since the worker's start, as `failed`."""
    failed: int = 0
    """Attempts that failed, those that are tried again included."""


class HeartbeatReport(_Part):
    """How the heartbeats go. Counts since the worker's start."""

    control_url: str | None = None
    """None in a cluster without a control plane: then nothing is sent."""
    silent_seconds: float | None = None
    """Since one was answered, as of the report; None when none was."""
    answered: int = 0
    failed: int = 0
    trouble: str = ""
    """Why the last one wasn't answered; empty when it was."""
    clock_skew: float | None = None
    """Seconds by which this node's clock is ahead of the control plane's; None when unknown."""
    leases: int = 0
    """Pieces of the control plane's work that are taken and not at their end."""


class ColdReport(_Part):
    """What became of backups into the cold tier. Counts are since the worker's start."""

    waiting: int = 0
    """Files that are still to be backed up."""
    waiting_bytes: int = 0
    oldest_age_seconds: float = 0.0
    """Since the commit of the file that has waited longest."""
    dead: int = 0
    """Given up, as with deliveries."""
    stored: int = 0
    failed: int = 0
    bytes_sent: int = 0
    unreachable: str = ""
    """Why the tier takes nothing at the moment; empty when it does."""


class ScanReport(_Part):
    """What the virus scanner made of files. Counts are since the worker's start."""

    waiting: int = 0
    """Files that nobody is served until it has looked at them."""
    oldest_age_seconds: float = 0.0
    """Since the commit of the one that has waited longest."""
    clean: int = 0
    infected: int = 0
    unscannable: int = 0
    """Too large for it, or too deep."""
    failed: int = 0
    """Attempts without a verdict, which are made again."""
    unreachable: str = ""
    """Why it looks at nothing at the moment; empty when it does."""


class PushesReport(_Part):
    """What became of copies to other nodes. Bytes and seconds."""

    waiting: int = 0
    dead: int = 0
    oldest_age_seconds: float = 0.0
    """How long the oldest push that isn't made has waited."""
    pushed: int = 0
    """Copies confirmed since the worker's start, as the following."""
    failed: int = 0
    """Attempts that failed, those that are tried again included."""
    bytes_sent: int = 0


class SpansReport(_Part):
    """What became of spans for the collector, since the worker's start."""

    exported: int = 0
    queue_full: int = 0
    """Dropped, for the collector doesn't keep up."""
    undelivered: int = 0
    """Dropped after some tries."""
    refused: int = 0
    """By the collector."""


class CertificateReport(_Part):
    """Between which times the certificate counts that nginx serves, in Unix seconds."""

    begins: float
    ends: float


class WorkerReport(_Part):
    """Everything the worker tells."""

    time: float
    """When, in Unix seconds."""
    uptime: float
    """When, in seconds since the machine's start: for whoever asks how old it is."""
    clock_set_at: float = 0.0
    """When the clock was last found to be set, in the same seconds."""
    warnings: tuple[str, ...] = ()
    """What an operator should look at although uploads work: `code: words`."""
    scrub: ScrubReport = ScrubReport()
    deliveries: DeliveriesReport = DeliveriesReport()
    heartbeats: HeartbeatReport = HeartbeatReport()
    cold: ColdReport | None = None
    """None where there is no cold tier."""
    scan: ScanReport | None = None
    """None where no namespace is scanned."""
    pushes: PushesReport = PushesReport()
    spans: SpansReport | None = None
    """None where no collector is named."""
    certificate: CertificateReport | None = None
    """None while nginx shows none."""
    expired_uploads: int = 0
    """Abandoned uploads that were ended past their deadline, since the worker's start."""
    purged_tombstones: int = 0
    """Deleted files that were forgotten for good, since the worker's start."""

    def age(self) -> float:
        """Seconds since it was written, whatever was done to the clock; one from before the
        machine's start is infinitely old."""
        age = uptime() - self.uptime
        return age if age >= 0 else math.inf


def write(path: Path, report: WorkerReport) -> None:
    """Replace the report as a whole. Raises OSError.

    Not synced: a report that a power cut empties is written again seconds after the next start.
    From a full disk above all it has to be heard: there it goes where the last one is, and who
    reads at that moment finds none.
    """
    temporary, content = path.with_suffix(".new"), report.model_dump_json().encode()
    try:
        temporary.write_bytes(content)
        temporary.rename(path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        temporary.unlink(missing_ok=True)
        _overwrite(path, content)


def _overwrite(path: Path, content: bytes) -> None:
    """Write into blocks that are taken already. Raises OSError."""
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def read(path: Path) -> WorkerReport | None:
    """The last report; None when there is none, or a power cut left it empty. Raises OSError."""
    try:
        return WorkerReport.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def scan_warnings(scan: ScanReport) -> list[str]:
    """What an operator should look at in the virus scanner."""
    if not scan.unreachable:
        return []
    return [
        f"scanner-away: {scan.waiting} files are held until it looks at them: {scan.unreachable}"
    ]


def cold_warnings(cold: ColdReport) -> list[str]:
    """What an operator should look at in the cold tier."""
    warnings = []
    if cold.unreachable:
        warnings.append(
            f"cold-unreachable: {cold.unreachable}: `portside-agent cold check` asks the bucket"
        )
    if cold.dead:
        warnings.append(
            f"cold-dead: {cold.dead} given up: see `portside-agent cold list`, then "
            "`portside-agent deliveries retry`"
        )
    return warnings
