"""What happens in the control plane, counted and timed for Prometheus, and how the cluster is.

Counters are those of one gunicorn process and begin at zero with it; with several processes each
answers for itself. What the database knows (nodes, pools) is the same whoever answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from control.catalogue import copies, usage
from control.cluster import node_states
from control.cluster.snapshot import Snapshots
from control.db import backups, replica
from control.db.database import Database, DatabaseUnavailable
from control.db.models import Move, Work
from control.problems import ProblemError, slugs
from portside.tracing.exporter import Outcome
from portside.wire.heartbeat import NodeState
from portside.wire.moves import MoveState

# A second series for each, which says only when the process began. (The library lacks the types.)
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
"""Around the 25 ms that a session should take at most."""


class Metrics:
    """The instruments of one process. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.problems = Counter(
            "portside_control_problems",
            "Requests answered with a problem.",
            ("problem",),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "portside_control_seconds",
            "What it took to open a session and to take a heartbeat in.",
            ("operation",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.refused = Counter(
            "portside_control_refused",
            "Sessions and heartbeats that were refused.",
            ("operation",),
            registry=self.registry,
        )
        for slug in slugs():
            self.problems.labels(slug)
        for operation in ("session", "heartbeat"):
            self.seconds.labels(operation)
            self.refused.labels(operation)

    def problem(self, slug: str) -> None:
        """A request was answered with this problem."""
        self.problems.labels(slug).inc()

    def session(self) -> AbstractContextManager[None]:
        """Time the opening of a session."""
        return self._timed("session")

    def heartbeat(self) -> AbstractContextManager[None]:
        """Time a heartbeat."""
        return self._timed("heartbeat")

    @contextmanager
    def _timed(self, operation: str) -> Iterator[None]:
        try:
            with self.seconds.labels(operation).time():
                yield
        except ProblemError:
            self.refused.labels(operation).inc()
            raise


class ClusterGauges:
    """Nodes and pools as of the snapshot. Without a database there are none: that is an alarm."""

    def __init__(
        self, snapshots: Snapshots, database: Database, clock: Callable[[], datetime]
    ) -> None:
        self._clock = clock
        self._snapshots = snapshots
        self._database = database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As of now, or all but a second."""
        up = GaugeMetricFamily("portside_control_database_up", "Whether the database answers.")
        try:
            snapshot = self._snapshots.current()
            work, moves = self._database.read(_under_way)
            used = self._database.read(usage.total)
            short, none = self._database.read(
                lambda session: copies.count_short(session, self._clock())
            )
        except DatabaseUnavailable:
            up.add_metric((), 0)
            yield up
            return
        up.add_metric((), 1)
        yield up
        states = GaugeMetricFamily("portside_control_nodes", "Nodes by state.", labels=("state",))
        for state in get_args(NodeState):
            count = sum(node.state == state for node in snapshot.nodes.values())
            states.add_metric((state,), count)
        yield states
        healthy = GaugeMetricFamily(
            "portside_control_node_healthy", "Whether files are placed there.", labels=("node",)
        )
        for node in snapshot.nodes.values():
            healthy.add_metric((node.node_id,), node.healthy)
        yield healthy
        silent = GaugeMetricFamily(
            "portside_control_node_silent_seconds",
            "Seconds for which the node could have been heard and wasn't.",
            labels=("node",),
        )
        for node in snapshot.nodes.values():
            if node.state != "retired":
                seconds = node_states.silence(node.signs, self._clock(), snapshot.listening_since)
                silent.add_metric((node.node_id,), max(0.0, seconds))
        yield silent
        skews = GaugeMetricFamily(
            "portside_control_node_clock_skew_seconds",
            "Seconds by which the node's clock was ahead of this one at its last heartbeat.",
            labels=("node",),
        )
        for node in snapshot.nodes.values():
            if node.signs.clock_skew is not None:
                skews.add_metric((node.node_id,), node.signs.clock_skew)
        yield skews
        for name, meaning in (
            ("reserved", "Bytes promised to open sessions."),
            ("open_sessions", "Sessions that are open."),
            ("stored", "Bytes of copies."),
        ):
            family = GaugeMetricFamily(f"portside_control_pool_{name}", meaning, labels=("pool",))
            for pool in snapshot.pools.values():
                family.add_metric((pool.pool_id,), getattr(pool, name))
            yield family
        waiting = GaugeMetricFamily(
            "portside_control_work",
            "Copies and deletions that nodes have to do, by what for.",
            labels=("kind", "reason", "state"),
        )
        for labels, count in work.items():
            waiting.add_metric(labels, count)
        yield waiting
        going = GaugeMetricFamily("portside_control_moves", "Moves by state.", labels=("state",))
        for move_state in get_args(MoveState):
            going.add_metric((move_state,), moves.get(move_state, 0))
        yield going
        for name, meaning, count in (
            (
                "files_short",
                "Files with fewer copies than they should have, older than an hour or without any.",
                short,
            ),
            ("files_without_copy", "Those of them without any that is known to be good.", none),
            ("usage_bytes", "Bytes of files, each counted once whatever its copies.", used.bytes),
            ("usage_files", "Files.", used.files),
            ("usage_promised_bytes", "The most that open sessions bring.", used.promised_bytes),
        ):
            yield GaugeMetricFamily(f"portside_control_{name}", meaning, value=count)


class BackupGauges:
    """The hourly backups of the database, where the deploy makes them."""

    def __init__(self, folder: Path, clock: Callable[[], datetime]) -> None:
        self._folder = folder
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As the folder is now."""
        age = backups.age(self._folder, self._clock())
        if age is not None:
            yield GaugeMetricFamily(
                "portside_control_backup_age_seconds",
                "Since the newest backup of the database was made.",
                value=age,
            )


class ReplicaGauges:
    """The running copy of the database, where there is one."""

    def __init__(self, socket: Path, clock: Callable[[], datetime]) -> None:
        self._socket = socket
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """As litestream tells now. Without its word there is no age: that is an alarm."""
        state = replica.state(self._socket, self._clock())
        yield GaugeMetricFamily(
            "portside_control_replica_up",
            "Whether the database's running copy is as new as it should be.",
            value=state.trouble is None,
        )
        if state.age is not None:
            yield GaugeMetricFamily(
                "portside_control_replica_age_seconds",
                "Since the database was last copied.",
                value=state.age,
            )


class SpanCounts:
    """Spans for the collector, where one is named."""

    def __init__(self, counts: Callable[[], Mapping[Outcome, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[CounterMetricFamily]:
        """As of now."""
        counts = self._counts()
        family = CounterMetricFamily(
            "portside_control_spans",
            "Spans for the collector, by what became of them.",
            labels=("outcome",),
        )
        for outcome in get_args(Outcome):
            family.add_metric((outcome,), counts.get(outcome, 0))
        yield family


def _under_way(session: Session) -> tuple[dict[tuple[str, str, str], int], dict[str, int]]:
    """Work by kind, reason and state; moves by state."""
    counted = session.execute(
        select(Work.kind, Work.reason, Work.state, func.count())
        .where(text("work.state IN ('waiting', 'leased')"))
        .group_by(Work.kind, Work.reason, Work.state)
    )
    work = {(str(kind), str(reason), str(state)): count for kind, reason, state, count in counted}
    states = session.execute(select(Move.state, func.count()).group_by(Move.state))
    return work, {str(state): count for state, count in states}
