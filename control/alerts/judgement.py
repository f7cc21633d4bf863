"""Which alerts hold, by what heartbeats and the database say. Pure.

A node that isn't heard says nothing about itself: what held stays as it was, and the silence is an
alert of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from control.alerts import windows
from control.alerts.readings import ClusterReading, NodeReading, Sample, sample_of
from portside.alerting.catalogue import BURNS, Bounds
from portside.quantities import format_duration, format_size
from portside.wire.heartbeat import Heartbeat

CLUSTER = ""
"""The subject of what is no single node's."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether an alert's condition is true of a node now; None: nobody can say."""

    name: str
    subject: str
    holds: bool | None
    detail: str = ""


def judge(reading: ClusterReading, bounds: Bounds) -> Iterator[Finding]:
    """Every alert of every node that is to work, and of the cluster."""
    for node in reading.nodes:
        yield from _of_node(node, reading, bounds)
    yield from _of_cluster(reading, bounds)
    yield from _of_burn(reading, bounds)


def _of_node(node: NodeReading, reading: ClusterReading, bounds: Bounds) -> Iterator[Finding]:
    silent = node.silent > bounds.dead_after
    yield Finding(
        "heartbeat-missing", node.node_id, silent, f"silent for {format_duration(node.silent)}"
    )
    beat = None if silent else node.heartbeat
    if beat is None:
        for name in _TOLD_BY_NODES:
            yield Finding(name, node.node_id, None)
        return
    samples = (*node.samples, sample_of(beat, node.heard_at or reading.now))
    for name, holds, detail in (
        *_memory(beat, bounds),
        *_disk(beat, samples, reading, bounds),
        *_certificate(beat, reading, bounds),
        *_uploads(beat, samples, reading, bounds),
        *_files(beat, samples, reading, bounds),
        (
            "clock-off",
            None if node.clock_skew is None else abs(node.clock_skew) > bounds.clock,
            f"{node.clock_skew or 0:+.0f} s",
        ),
    ):
        yield Finding(name, node.node_id, holds, detail)


_TOLD_BY_NODES = (
    *("memory-high", "memory-short", "disk-nearly-full", "disk-full-soon", "inodes-short"),
    *("certificate-ending", "certificate-last-days", "clock-off", "uploads-failing"),
    *("replication-late", "scrub-overdue", "damage-found", "quarantine-waits", "node-read-only"),
)

_Judged = tuple[str, bool | None, str]


def _memory(beat: Heartbeat, bounds: Bounds) -> Iterator[_Judged]:
    if not beat.memory_total:
        yield "memory-high", None, ""
        yield "memory-short", None, ""
        return
    left = beat.memory_available / beat.memory_total
    detail = f"{format_size(beat.memory_available)} of {format_size(beat.memory_total)} available"
    yield "memory-high", 1 - left > bounds.memory_used, detail
    short = beat.memory_available < bounds.memory_available and left < bounds.memory_share
    yield "memory-short", short, detail


def _disk(
    beat: Heartbeat, samples: tuple[Sample, ...], reading: ClusterReading, bounds: Bounds
) -> Iterator[_Judged]:
    room = beat.disk_free - beat.disk_reserved
    full_in = windows.seconds_until_full(samples, room, bounds.disk_seen_for, reading.now)
    detail = f"{format_size(max(0, room))} of {format_size(beat.disk_total)} left"
    if full_in is not None:
        detail += f", full in {format_duration(full_in)} if it goes on so"
    # A filesystem that can't be asked tells neither: that is another alert.
    known = beat.disk_total > 0
    nearly = room < bounds.disk_left * beat.disk_total if known else None
    yield "disk-nearly-full", nearly, detail
    yield "disk-full-soon", full_in is not None and full_in < bounds.disk_full_in, detail
    inodes = beat.inodes
    few = inodes.total > 0 and inodes.spare < bounds.inodes_left * inodes.total
    yield "inodes-short", few, f"{max(0, inodes.spare)} of {inodes.total} left"


def _certificate(beat: Heartbeat, reading: ClusterReading, bounds: Bounds) -> Iterator[_Judged]:
    served = beat.certificate
    if served is None:
        yield "certificate-ending", None, ""
        yield "certificate-last-days", None, ""
        return
    life = (served.ends - served.begins).total_seconds()
    left = (served.ends - reading.now).total_seconds()
    detail = f"it ends at {served.ends:%Y-%m-%dT%H:%M:%SZ}"
    for name, most, share in (
        ("certificate-ending", bounds.certificate_left, bounds.certificate_share),
        ("certificate-last-days", bounds.certificate_last, bounds.certificate_last_share),
    ):
        yield name, left < min(most, share * life), detail


def _uploads(
    beat: Heartbeat,
    samples: tuple[Sample, ...],
    reading: ClusterReading,
    bounds: Bounds,
) -> Iterator[_Judged]:
    begin = reading.now - timedelta(seconds=bounds.failures_over)
    lately = windows.since(samples, begin)
    failed = windows.rise(lately, lambda each: each.failed)
    ended = failed + windows.rise(lately, lambda each: each.committed)
    many = ended >= bounds.failures_least and failed > bounds.failures * ended
    told = beat.uploads is not None
    yield "uploads-failing", many if told else None, f"{failed} of {ended} failed"
    why = "; ".join(beat.reasons[:3]) or "it doesn't say why"
    yield "node-read-only", not beat.accepting, why


def _files(
    beat: Heartbeat, samples: tuple[Sample, ...], reading: ClusterReading, bounds: Bounds
) -> Iterator[_Judged]:
    waited = beat.replication_oldest
    yield (
        "replication-late",
        waited > bounds.replication,
        f"{beat.replication_waiting} wait, the oldest for {format_duration(waited)}",
    )
    age = beat.scrub_oldest
    yield "scrub-overdue", age > bounds.scrub_age, f"the oldest was {format_duration(age)} ago"
    lately = windows.since(samples, reading.now - timedelta(seconds=bounds.damage_over))
    new = beat.scrub_damaged - min(each.quarantined for each in lately)
    named = ", ".join(str(each.path) for each in beat.quarantined[:3])
    yield "damage-found", new > 0, f"{new} files, of {beat.scrub_damaged} in quarantine: {named}"
    waits = f"{beat.scrub_damaged} files: {named}"
    yield "quarantine-waits", beat.scrub_damaged > 0, waits


def _of_cluster(reading: ClusterReading, bounds: Bounds) -> Iterator[Finding]:
    short, none = reading.files_short, reading.files_without_copy
    yield Finding("copies-short", CLUSTER, short > 0, f"{short} files")
    yield Finding("file-without-copy", CLUSTER, none > 0, f"{none} files")
    age = reading.backup_age
    yield Finding(
        "backup-old",
        CLUSTER,
        age is not None and age > bounds.backup,
        f"{format_duration(age or 0)} old",
    )
    trouble = reading.replica_trouble
    yield Finding("replica-late", CLUSTER, trouble is not None, trouble or "")


def _of_burn(reading: ClusterReading, bounds: Bounds) -> Iterator[Finding]:
    for burn in BURNS:
        broken, accepted = _share(reading, burn.long)
        lately, of = _share(reading, burn.short)
        limit = burn.factor * bounds.error_budget
        holds = broken >= bounds.burn_least and broken > limit * accepted and lately > limit * of
        yield Finding(burn.name, CLUSTER, holds, f"{broken} of {accepted} failed")


def _share(reading: ClusterReading, window: int) -> tuple[int, int]:
    """Accepted uploads that nodes broke off, and all that were accepted, of every node."""
    broken = accepted = 0
    begin = reading.now - timedelta(seconds=window)
    for node in reading.nodes:
        now = (
            ()
            if node.heartbeat is None
            else (sample_of(node.heartbeat, node.heard_at or reading.now),)
        )
        samples = windows.since((*node.samples, *now), begin)
        failed = windows.rise(samples, lambda each: each.broken)
        broken += failed
        accepted += failed + windows.rise(samples, lambda each: each.committed)
    return broken, accepted
