"""What alerts are judged by and what stands, out of the database and into it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pydantic import ValidationError
from sqlalchemy import BigInteger, delete, or_, select, type_coerce
from sqlalchemy.orm import Session

from control.alerts.readings import ClusterReading, NodeReading, Sample, sample_of
from control.alerts.standing import Key, Standing
from control.catalogue import copies
from control.db import backups, replica
from control.db.models import AlertSample, AlertStanding, ClusterState, Node
from control.settings import Settings
from portside.wire.heartbeat import Heartbeat

SAMPLE_EVERY = 300
"""Seconds between two samples of a node."""

DETAILED_FOR = timedelta(hours=2)
"""How long all of them are kept; then those of whole and half hours are."""

KEPT_FOR = timedelta(days=3, hours=1)
"""As long as the longest window."""

_HALF_HOUR = 1800 * 1_000_000
"""Microseconds, as moments are kept in."""


def read(session: Session, now: datetime) -> ClusterReading:
    """Everything as of now."""
    samples = _samples(session, now)
    cluster = session.get(ClusterState, 1)
    listening = None if cluster is None else cluster.listening_since
    wanted = select(Node).where(Node.in_roster, Node.wanted != "retired").order_by(Node.node_id)
    short, none = copies.count_short(session, now)
    return ClusterReading(
        now=now,
        nodes=[
            _node(node, samples.get(node.node_id, ()), now, listening)
            for node in session.scalars(wanted)
        ],
        files_short=short,
        files_without_copy=none,
    )


def with_files(reading: ClusterReading, settings: Settings) -> ClusterReading:
    """And what isn't in the database: it may take its time, and no transaction waits for it."""
    trouble = None
    if settings.replica_socket is not None:
        trouble = replica.state(settings.replica_socket, reading.now).trouble
    return replace(
        reading,
        backup_age=backups.age(settings.backups, reading.now),
        replica_trouble=trouble,
    )


def standing(session: Session) -> dict[Key, Standing]:
    """What stood after the last look."""
    return {
        (row.name, row.subject): Standing(row.began_at, row.detail, row.told_at, row.quiet_since)
        for row in session.scalars(select(AlertStanding))
    }


def keep(session: Session, before: Mapping[Key, Standing], now: Mapping[Key, Standing]) -> None:
    """Note down what stands from now on."""
    for name, subject in before.keys() - now.keys():
        session.execute(
            delete(AlertStanding).where(
                AlertStanding.name == name, AlertStanding.subject == subject
            )
        )
    for key, each in now.items():
        if before.get(key) != each:
            session.merge(
                AlertStanding(
                    name=key[0],
                    subject=key[1],
                    began_at=each.began_at,
                    detail=each.detail,
                    told_at=each.told_at,
                    quiet_since=each.quiet_since,
                )
            )


def sample(session: Session, reading: ClusterReading) -> None:
    """Keep what nodes tell every few minutes, and let go of what is too old."""
    at = datetime.fromtimestamp(
        reading.now.timestamp() // SAMPLE_EVERY * SAMPLE_EVERY, tz=reading.now.tzinfo
    )
    for node in reading.nodes:
        if node.heartbeat is None or (node.samples and node.samples[-1].at >= at):
            continue
        told = sample_of(node.heartbeat, at)
        session.merge(
            AlertSample(
                node_id=node.node_id,
                at=at,
                disk_free=told.disk_free,
                quarantined=told.quarantined,
                committed=told.committed,
                failed=told.failed,
                broken=told.broken,
            )
        )
    microseconds = type_coerce(AlertSample.at, BigInteger)
    session.execute(
        delete(AlertSample)
        .where(
            or_(
                AlertSample.at < at - KEPT_FOR,
                # Noted while the clock was ahead.
                AlertSample.at > at,
                (AlertSample.at < at - DETAILED_FOR) & (microseconds % _HALF_HOUR != 0),
            )
        )
        .execution_options(synchronize_session=False)
    )


def _samples(session: Session, now: datetime) -> Mapping[str, Sequence[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    rows = session.execute(
        select(
            AlertSample.node_id,
            AlertSample.at,
            AlertSample.disk_free,
            AlertSample.quarantined,
            AlertSample.committed,
            AlertSample.failed,
            AlertSample.broken,
        )
        # None of a clock that was ahead.
        .where(AlertSample.at <= now)
        .order_by(AlertSample.node_id, AlertSample.at)
    )
    for node_id, at, disk_free, quarantined, committed, failed, broken in rows:
        found[node_id].append(Sample(at, disk_free, quarantined, committed, failed, broken))
    return found


def _node(
    node: Node, samples: Sequence[Sample], now: datetime, listening: datetime | None
) -> NodeReading:
    last = node.heard_at or node.wanted_at
    if listening is not None:
        last = max(last, listening)
    beat = None
    if node.heartbeat is not None:
        try:
            beat = Heartbeat.model_validate_json(node.heartbeat)
        except ValidationError:
            # Of another release, which the next one replaces in seconds.
            beat = None
    return NodeReading(
        node_id=node.node_id,
        silent=max(0.0, (now - last).total_seconds()),
        heartbeat=beat,
        heard_at=node.heard_at,
        clock_skew=node.clock_skew,
        samples=samples,
    )
