"""One upload, measured; and what several of them come to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from bench import http_client
from bench.contenders import Service
from bench.processes import cpu_seconds, family_of, peak_memory, reset_peak_memory
from bench.source import Source

GIGABYTE = 1_000_000_000


class WrongContent(Exception):
    """What was stored is not what was sent."""


@dataclass(frozen=True, slots=True)
class Run:
    """One upload. Seconds; CPU seconds of nginx, backend and client; bytes of RAM."""

    seconds: float
    wait: float
    nginx_cpu: float
    backend_cpu: float
    client_cpu: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over a contender's runs. CPU is per GB (10^9 bytes).

    `ratio` is to the measure, `ratio_to_ours` to our own PUT; None where that one didn't run.
    """

    seconds: float
    best: float
    ratio: float | None
    ratio_to_ours: float | None
    wait: float
    server_cpu_per_gb: float
    nginx_cpu_per_gb: float
    client_cpu_per_gb: float
    peak_memory: int


def measure(service: Service, source: Source, check_content: bool) -> Run:
    """Upload `source` once, look at what is stored, clean up, let the disk come to rest.

    Raises UploadFailed and WrongContent.
    """
    request = service.next_upload()
    front = family_of(service.nginx)
    backend = [process for pid in service.backends for process in family_of(pid)]
    source.warm()
    os.sync()
    reset_peak_memory(backend or front)
    nginx_before, backend_before = cpu_seconds(front), cpu_seconds(backend)
    exchange = http_client.upload(service.port, request, source.path)
    run = Run(
        seconds=exchange.seconds,
        wait=exchange.wait,
        nginx_cpu=cpu_seconds(front) - nginx_before,
        backend_cpu=cpu_seconds(backend) - backend_before,
        client_cpu=exchange.client_cpu,
        peak_memory=peak_memory(backend or front),
    )
    if check_content and (stored := service.stored_sha256(exchange.answer)) != source.sha256:
        raise WrongContent(f"sent {source.sha256}, stored {stored}")
    service.clear()
    # The next contender must not pay for writing back what this one left in memory.
    os.sync()
    return run


def summarise(
    runs: Sequence[Run], measure_of: Sequence[Run] | None, ours: Sequence[Run] | None, size: int
) -> Summary:
    """Medians of `runs`; a ratio is the median of each round's ratio to `measure_of` or `ours`."""
    gigabytes = size / GIGABYTE
    return Summary(
        seconds=median(run.seconds for run in runs),
        best=min(run.seconds for run in runs),
        ratio=median_ratio(runs, measure_of) if measure_of else None,
        ratio_to_ours=median_ratio(runs, ours) if ours else None,
        wait=median(run.wait for run in runs),
        server_cpu_per_gb=median(run.nginx_cpu + run.backend_cpu for run in runs) / gigabytes,
        nginx_cpu_per_gb=median(run.nginx_cpu for run in runs) / gigabytes,
        client_cpu_per_gb=median(run.client_cpu for run in runs) / gigabytes,
        peak_memory=max(run.peak_memory for run in runs),
    )


def median_ratio(runs: Sequence[Run], measure_of: Sequence[Run]) -> float:
    """Round by round, for the machine is not equally fast in all of them."""
    pairs = zip(runs, measure_of, strict=True)
    return median(run.seconds / other.seconds for run, other in pairs)
