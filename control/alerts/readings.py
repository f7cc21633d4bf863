"""What alerts are judged by, as of one moment: pure values, whoever has read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from portside.wire.heartbeat import Heartbeat


@dataclass(frozen=True, slots=True)
class Sample:
    """What a node's counters said at a moment; None where it didn't tell."""

    at: datetime
    disk_free: int
    quarantined: int
    committed: int | None = None
    failed: int | None = None
    broken: int | None = None


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node. `samples` are earlier ones, the oldest first."""

    node_id: str
    silent: float
    """Seconds for which it could have been heard and wasn't."""
    heartbeat: Heartbeat | None
    """The last; None before the first, and after a restore."""
    heard_at: datetime | None = None
    clock_skew: float | None = None
    samples: Sequence[Sample] = ()


@dataclass(frozen=True, slots=True)
class ClusterReading:
    """Everything. `backup_age` is None where the database is somebody else's to back up."""

    now: datetime
    nodes: Sequence[NodeReading]
    files_short: int = 0
    files_without_copy: int = 0
    backup_age: float | None = None
    replica_trouble: str | None = None


def sample_of(heartbeat: Heartbeat, at: datetime) -> Sample:
    """What of a heartbeat is kept for later comparison."""
    counts = heartbeat.uploads
    return Sample(
        at=at,
        disk_free=heartbeat.disk_free,
        quarantined=heartbeat.scrub_damaged,
        committed=None if counts is None else counts.committed,
        failed=None if counts is None else counts.failed,
        broken=None if counts is None else counts.broken,
    )
