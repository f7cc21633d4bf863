"""Where a node's spans go when a collector is named: the web side's to the worker, both from there.

The web side has no network; the worker has (`portside.tracing.relay`).
"""

from __future__ import annotations

from importlib.metadata import version

import structlog

from agent.host.supervised_thread import Pulse
from agent.settings import Settings
from agent.telemetry.worker_report import SpansReport
from portside.tracing import relay, spans
from portside.tracing.exporter import Exporter
from portside.tracing.relay import Relay

_AGAIN = 30.0
"""Seconds until a socket is tried again that couldn't be made: on a full disk there is no room."""

_log = structlog.get_logger()


def of_web_side(settings: Settings) -> Relay | None:
    """Record this process's spans from here on; None where nobody wants any."""
    if settings.otlp is None:
        return None
    handed = Relay(settings.spans)
    spans.record_to(handed)
    return handed


class SpanExport:
    """The worker's: exports its own spans and the web side's."""

    def __init__(self, settings: Settings, collector: str) -> None:
        self._place = settings.spans
        resource = {
            "service.name": "portside-agent",
            "service.version": version("portside"),
            "service.instance.id": settings.node_id,
        }
        self._exporter = Exporter(collector, resource, version("portside"))

    def run(self, pulse: Pulse) -> None:
        """Export until the worker is to stop, and the last of it within some seconds."""
        self._exporter.start()
        spans.record_to(self._exporter)

        def going() -> bool:
            pulse.beat()
            return not pulse.stopped

        while not pulse.stopped:
            try:
                relay.receive(self._place, self._exporter.put_encoded, going)
            except OSError as error:
                _log.warning("the web side's spans can't be taken", error=str(error))
                pulse.wait(_AGAIN)
        spans.record_to(None)
        self._exporter.close()

    def report(self) -> SpansReport:
        """What became of spans since the start."""
        return SpansReport(
            **{key.replace("-", "_"): count for key, count in self._exporter.counts().items()}
        )
