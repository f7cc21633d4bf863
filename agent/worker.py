"""The agent's worker: what a node does on its own, in a service of its own.

Every 30 seconds it proves that the disk takes a durable write, removes what abandoned uploads left
in staging, and reports for the web side to read. systemd's watchdog finds a worker that hangs.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from types import FrameType

import structlog
from gunicorn.systemd import sd_notify

from agent.health import NodeUnfit, check_marker, check_write
from agent.index import Index
from agent.recovery import sweep_staging
from agent.settings import Settings

_log = structlog.get_logger()

INTERVAL = 30
"""Seconds between two rounds; systemd's WatchdogSec is several times that."""

SLOW_WRITE = 5.0
"""Seconds for one small durable write, above which the disk is reported as slow."""


def run(settings: Settings) -> None:
    """Work until SIGTERM. Raises NodeUnfit when the data filesystem isn't there at the start."""
    check_marker(settings)
    stopping = threading.Event()

    def stop(signum: int, frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    index = Index(settings.index)
    _notify("READY=1")
    while not stopping.is_set():
        _report(settings, one_round(settings, index))
        _notify("WATCHDOG=1")
        stopping.wait(INTERVAL)
    _notify("STOPPING=1")
    index.close()


def one_round(settings: Settings, index: Index) -> list[str]:
    """Check the disk, sweep staging; returns warnings in words for people."""
    warnings = []
    started = time.monotonic()
    try:
        check_marker(settings)
        check_write(settings)
        sweep_staging(settings, index)
    except NodeUnfit as unfit:
        warnings.append(f"disk-unfit: {unfit}")
    except OSError as error:
        warnings.append(f"sweep-failed: {error}")
    seconds = time.monotonic() - started
    if seconds > SLOW_WRITE:
        warnings.append(f"disk-slow: a small durable write took {seconds:.1f} s")
    for warning in warnings:
        _log.warning("worker found", warning=warning)
    return warnings


def _report(settings: Settings, warnings: list[str]) -> None:
    """Leave the findings for `/health/ready`. A full or broken disk is logged and outlived."""
    temporary = settings.worker_report.with_suffix(".new")
    try:
        temporary.write_text(json.dumps({"time": time.time(), "warnings": warnings}))
        temporary.rename(settings.worker_report)
    except OSError as error:
        _log.warning("worker can't report", error=str(error))


def _notify(state: str) -> None:
    if os.environ.get("NOTIFY_SOCKET"):
        sd_notify(state, _log)
