"""What happens on a node, counted and timed for Prometheus: the instruments, and who may use them.

What *is* (slots, space, files) is not kept here but asked when Prometheus comes by:
`agent.api.metrics_page`. Counters begin at zero with each process, as Prometheus expects.

    with metrics.upload("put") as upload:
        with upload.phase("preflight"): ...
        with upload.phase("receive"): ...  # calls upload.last_byte() when the body is at its end
        upload.received(size)
        with upload.phase("sync"): ...
        with upload.phase("commit"): ...
        upload.committed(size)
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

from agent.problems import ProblemError, slugs
from agent.telemetry.failures import RecentFailures
from portside.alerting import outcomes
from portside.tracing.spans import step

Way = Literal["form", "put", "tus", "ietf", "replicate"]
"""How a file is sent: a multipart form, a raw body, one of the two resumable protocols, or another
node's push."""

Phase = Literal["preflight", "receive", "sync", "commit"]

COMMITTED = outcomes.COMMITTED

# A second series for each, which says only when the process began. (The library lacks the types.)
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2, 10, 60, 300, 1800, 7200)
"""From a small file on a fast disk to the longest upload that is allowed."""


class Metrics:
    """The instruments of one agent process. Thread-safe."""

    def __init__(self) -> None:
        # Not the library's global one: two agents in one process would count together.
        self.registry = CollectorRegistry()
        self.recent_failures = RecentFailures()
        self.uploads = Counter(
            "portside_uploads",
            "Uploads committed, and requests of uploads that ended with a problem, by problem.",
            ("way", "outcome"),
            registry=self.registry,
        )
        self.received = Counter(
            "portside_received_bytes",
            "Bytes of files received, whatever became of them.",
            ("way",),
            registry=self.registry,
        )
        self.committed = Counter(
            "portside_committed_bytes",
            "Bytes of files stored and acknowledged.",
            ("way",),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "portside_upload_seconds",
            "From the request's head to its answer, for requests that stored a file.",
            ("way",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.phases = Histogram(
            "portside_upload_phase_seconds",
            "The parts of that time.",
            ("phase",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.wait = Histogram(
            "portside_upload_wait_seconds",
            "From a file's last byte to the answer: what a client waits at 100 %.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.problems = Counter(
            "portside_problems",
            "Requests answered with a problem: token-* are refused tokens.",
            ("problem",),
            registry=self.registry,
        )
        # A series that appears with its first event has no rate before the second.
        for way in get_args(Way):
            for outcome in (COMMITTED, *sorted(outcomes.BROKEN)):
                self.uploads.labels(way, outcome)
            self.received.labels(way)
            self.committed.labels(way)
            self.seconds.labels(way)
        for phase in get_args(Phase):
            self.phases.labels(phase)
        for slug in slugs():
            self.problems.labels(slug)

    def upload(self, way: Way) -> UploadTimer:
        """Begin to time a request that brings bytes of a file."""
        return UploadTimer(self, way)

    def problem(self, slug: str) -> None:
        """A request was answered with this problem."""
        self.problems.labels(slug).inc()

    def counts(self) -> tuple[int, dict[str, int]]:
        """Uploads committed, and failed by problem, since this process started."""
        counted: Tally[str] = Tally()
        for family in self.uploads.collect():
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    counted[sample.labels["outcome"]] += int(sample.value)
        committed = counted.pop(COMMITTED, 0)
        return committed, {outcome: count for outcome, count in counted.items() if count}


class UploadTimer:
    """One request that brings bytes of a file: `with metrics.upload("put") as upload`.

    A problem that leaves the context counts as the upload's outcome. A request that neither commits
    nor raises (an offset reached, a file stored before) has none.
    """

    def __init__(self, metrics: Metrics, way: Way) -> None:
        self._metrics = metrics
        self._way = way
        self._started = time.monotonic()
        self._last_byte: float | None = None

    def __enter__(self) -> UploadTimer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, ProblemError):
            self._end(error.slug)
        elif isinstance(error, Exception):
            self._end("internal-error")

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Time a part of the request, a span of its trace; one that fails isn't counted."""
        started = time.monotonic()
        with step(phase):
            yield
        self._metrics.phases.labels(phase).observe(time.monotonic() - started)

    def received(self, size: int) -> None:
        """So many bytes of the file came in, also when the rest never did."""
        self._metrics.received.labels(self._way).inc(size)

    def last_byte(self) -> None:
        """The request's last byte is in: from here on the client waits."""
        self._last_byte = time.monotonic()

    def committed(self, size: int) -> None:
        """The file is stored, the answer goes out now; `size` is the whole file's."""
        now = time.monotonic()
        self._end(COMMITTED)
        self._metrics.committed.labels(self._way).inc(size)
        self._metrics.seconds.labels(self._way).observe(now - self._started)
        if self._last_byte is not None:
            self._metrics.wait.observe(now - self._last_byte)

    def _end(self, outcome: str) -> None:
        if outcome != COMMITTED:
            self._metrics.recent_failures.add(self._way, outcome)
        self._metrics.uploads.labels(self._way, outcome).inc()
