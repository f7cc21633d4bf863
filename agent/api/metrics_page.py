"""What is so on the node as Prometheus comes by `/metrics`.

Slots, memory and disk are admission's own numbers, as in upload-status. What the worker does (it is
another process) comes from its last report.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from agent.index.database import Database
from agent.replication.queue import PushQueue
from agent.settings import Settings
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from agent.telemetry.worker_report import (
    ColdReport,
    HeartbeatReport,
    ScanReport,
    SpansReport,
    WorkerReport,
)
from agent.uploads.admission import Admission
from portside.cluster.bandwidth import BandwidthLimits
from portside.tracing.relay import Relay


class NodeGauges(Collector):
    """The gauges of one node."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        health: NodeHealth,
        admission: Admission,
        relay: Relay | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._health = health
        self._admission = admission
        self._relay = relay

    def describe(self) -> Iterable[Metric]:
        """Nothing: without it, registering would ask for every number."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Every reading with its value."""
        yield from self._of_health()
        yield from self._of_admission()
        yield from self._of_bandwidth()
        yield from self._of_storage()
        report = worker_report.read(self._settings.worker_report)
        if report is not None:
            yield from _of_worker(report)
        if self._relay is not None:
            spans = SpansReport() if report is None else report.spans or SpansReport()
            yield _of_spans(spans, self._relay.dropped())

    def _of_health(self) -> Iterable[Metric]:
        reasons = self._health.reasons()
        yield _gauge("accepting_uploads", "1, or 0 when the node is read-only.", not reasons)
        read_only = GaugeMetricFamily(
            "portside_read_only", "Why the node takes no uploads.", labels=("reason",)
        )
        for reason in reasons:
            read_only.add_metric((reason.partition(":")[0],), 1)
        yield read_only

    def _of_admission(self) -> Iterable[Metric]:
        slots = self._admission.slots()
        yield _gauge("slots_used", "Uploads running.", slots.used)
        yield _gauge("slots_limit", "Uploads that may run at once.", slots.limit)
        yield _gauge("slots_per_token", "The most of one token.", slots.per_token)
        yield _gauge("slots_per_owner", "The most of one owner.", slots.per_owner)
        yield _gauge("slots_per_address", "The most of one address.", slots.per_address)
        yield _gauge("uploads_gave_way", "Idle uploads ended for others.", slots.gave_way)
        memory = self._admission.memory()
        yield _gauge("memory_reserved_bytes", "Memory held for uploads.", memory.reserved)
        yield _gauge("memory_limit_bytes", "The most that may be held.", memory.limit)
        yield _gauge("memory_available_bytes", "Memory the node has left.", memory.available)
        yield _gauge("memory_total_bytes", "The node's memory.", memory.total)
        yield _gauge("memory_resident_bytes", "Memory this process has in use.", memory.agent_rss)
        disk = self._admission.disk()
        yield _gauge("disk_free_bytes", "Free on the data filesystem.", disk.free)
        yield _gauge("disk_total_bytes", "Size of the data filesystem.", disk.total)
        yield _gauge("disk_reserved_bytes", "Promised to uploads, not yet taken.", disk.reserved)
        yield _gauge("disk_kept_bytes", "Kept free whatever comes.", disk.kept_free)

        inodes = disk.inodes
        if inodes.total:
            yield _gauge("inodes_free", "Free on the data filesystem.", inodes.free)
            yield _gauge("inodes_total", "What it has in all.", inodes.total)
            yield _gauge("inodes_reserved", "Promised to uploads.", inodes.reserved)
            yield _gauge("inodes_kept", "Kept free whatever comes.", inodes.kept_free)

    def _of_bandwidth(self) -> Iterable[Metric]:
        status = self._admission.bandwidth()
        limits = GaugeMetricFamily(
            "portside_bandwidth_limit_bytes",
            "Bytes per second of an upload, an owner, the node's uploads, a download, downloads.",
            labels=("of",),
        )
        for name in BandwidthLimits.model_fields:
            limit = getattr(status, name)
            if limit is not None:
                limits.add_metric((name,), limit)
        yield limits
        yield _gauge("bandwidth_waiting", "Requests whose bytes may not come yet.", status.waiting)
        yield _counter("bandwidth_waited_seconds", "For which they waited.", status.waited_seconds)

    def _of_storage(self) -> Iterable[Metric]:
        # From an index that holds both columns: a million files take some 50 ms.
        files, size = self._database.rows(
            "SELECT count(*), sum(size) FROM files WHERE state = 'COMMITTED'"
        )[0]
        yield _gauge("files", "Files stored.", files)
        yield _gauge("files_bytes", "Their bytes.", size or 0)
        yield self._counted(
            "resumable_uploads",
            "Resumable uploads that are open.",
            "SELECT kind, count(*) FROM uploads WHERE state = 'OPEN' GROUP BY kind",
            kind=("whole", "part", "final"),
        )
        yield self._counted(
            "deliveries",
            "What is still to be told of files by hooks, and what was given up.",
            "SELECT lower(state), count(*) FROM deliveries GROUP BY state",
            state=("waiting", "dead"),
        )
        yield self._counted(
            "pushes",
            "Copies still to be made on other nodes, and those that were given up.",
            "SELECT lower(state), count(*) FROM pushes GROUP BY state",
            state=("waiting", "dead"),
        )
        ((count,),) = self._database.rows("SELECT count(*) FROM copies")
        yield _gauge("copies", "Copies on other nodes that their receipts attest to.", count)
        oldest = PushQueue(self._database).lag().oldest
        yield _gauge("push_age_seconds", "How long the oldest push has waited.", oldest)

    def _counted(
        self, name: str, documentation: str, query: str, **label: tuple[str, ...]
    ) -> Metric:
        """A gauge with one label, whose values are known, from a query of (value, count)."""
        ((key, values),) = label.items()
        family = GaugeMetricFamily(f"portside_{name}", documentation, labels=(key,))
        counts = dict(self._database.rows(query))
        for value in values:
            family.add_metric((value,), counts.get(value, 0))
        return family


def _of_worker(report: WorkerReport) -> Iterable[Metric]:
    yield _gauge("worker_report_age_seconds", "Since the worker last reported.", report.age())
    yield _gauge("worker_warnings", "What an operator should look at.", len(report.warnings))
    scrub, deliveries = report.scrub, report.deliveries
    yield _counter("scrubbed_files", "Files read again and compared.", scrub.files_verified)
    yield _counter("scrubbed_bytes", "Bytes read for that.", scrub.bytes_read)
    yield _counter("damaged_files", "Files found damaged.", scrub.damaged)
    yield _gauge("quarantined_files", "Damaged files kept apart.", scrub.quarantined)
    yield _gauge(
        "scrub_age_seconds",
        "How old the oldest reading of a file is.",
        scrub.oldest_unverified_age_seconds,
    )
    yield _counter("delivered", "Hooks that succeeded.", deliveries.delivered)
    yield _counter("delivery_failures", "Attempts at hooks that failed.", deliveries.failed)
    if report.cold is not None:
        yield from _of_cold(report.cold)
    if report.scan is not None:
        yield from _of_scans(report.scan)
    yield _counter("pushed", "Copies confirmed by other nodes.", report.pushes.pushed)
    yield _counter("pushed_bytes", "Bytes sent for them.", report.pushes.bytes_sent)
    yield _counter("push_failures", "Attempts at copies that failed.", report.pushes.failed)
    if report.certificate is not None:
        yield _gauge(
            "certificate_end_timestamp_seconds",
            "When the certificate that nginx serves ends, in Unix seconds.",
            report.certificate.ends,
        )
        yield _gauge(
            "certificate_lifetime_seconds",
            "From its beginning to its end.",
            report.certificate.ends - report.certificate.begins,
        )
    yield _counter("expired_uploads", "Uploads ended past their deadline.", report.expired_uploads)
    if report.heartbeats.control_url is not None:
        yield from _of_heartbeats(report.heartbeats, report.age())


def _of_heartbeats(heartbeats: HeartbeatReport, report_age: float) -> Iterable[Metric]:
    yield _gauge(
        "control_plane_answers",
        "1, or 0 when it left a heartbeat unanswered.",
        not heartbeats.trouble,
    )
    if heartbeats.silent_seconds is not None:
        age = heartbeats.silent_seconds + report_age
        yield _gauge("heartbeat_age_seconds", "Since a heartbeat was last answered.", age)
    if heartbeats.clock_skew is not None:
        yield _gauge(
            "clock_skew_seconds",
            "Seconds by which this clock is ahead of the control plane's.",
            heartbeats.clock_skew,
        )
    yield _counter("heartbeats_answered", "Heartbeats answered.", heartbeats.answered)
    yield _counter("heartbeats_failed", "Heartbeats that weren't.", heartbeats.failed)
    yield _gauge("leases", "The control plane's work that is not at its end.", heartbeats.leases)


def _of_cold(cold: ColdReport) -> Iterable[Metric]:
    yield _gauge("cold_waiting_files", "Files still to be backed up.", cold.waiting)
    yield _gauge("cold_waiting_bytes", "Their bytes.", cold.waiting_bytes)
    yield _gauge(
        "cold_oldest_age_seconds",
        "Since the commit of the file that has waited longest for its backup.",
        cold.oldest_age_seconds,
    )
    yield _gauge("cold_dead", "Backups that were given up.", cold.dead)
    yield _gauge("cold_reachable", "1, or 0 when the cold tier pauses.", not cold.unreachable)
    yield _counter("cold_stored_files", "Files backed up.", cold.stored)
    yield _counter("cold_sent_bytes", "Bytes sent for that.", cold.bytes_sent)
    yield _counter("cold_failures", "Attempts that failed.", cold.failed)


def _of_scans(scan: ScanReport) -> Iterable[Metric]:
    yield _gauge("scan_waiting_files", "Held until the scanner has looked at them.", scan.waiting)
    yield _gauge(
        "scan_oldest_age_seconds",
        "Since the commit of the file that has waited longest for the scanner.",
        scan.oldest_age_seconds,
    )
    yield _gauge("scanner_reachable", "1, or 0 when the scanner is away.", not scan.unreachable)
    family = CounterMetricFamily(
        "portside_scanned_files", "Files that the scanner has judged.", labels=("verdict",)
    )
    for verdict, count in (
        ("clean", scan.clean),
        ("infected", scan.infected),
        ("unscannable", scan.unscannable),
    ):
        family.add_metric((verdict,), count)
    yield family
    yield _counter("scan_failures", "Attempts without a verdict.", scan.failed)


def _of_spans(spans: SpansReport, dropped: int) -> Metric:
    family = CounterMetricFamily(
        "portside_spans", "Spans for the collector, by what became of them.", labels=("outcome",)
    )
    for outcome, count in (
        ("exported", spans.exported),
        ("queue-full", spans.queue_full + dropped),
        ("undelivered", spans.undelivered),
        ("refused", spans.refused),
    ):
        family.add_metric((outcome,), count)
    return family


def _gauge(name: str, documentation: str, value: float) -> Metric:
    return GaugeMetricFamily(f"portside_{name}", documentation, value=value)


def _counter(name: str, documentation: str, value: float) -> Metric:
    return CounterMetricFamily(f"portside_{name}", documentation, value=value)
