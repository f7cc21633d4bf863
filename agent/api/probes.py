"""`/health/ready`: would the node take an upload?"""

from __future__ import annotations

import time

import falcon

from agent.settings import Settings
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from portside.wire.status import Readiness

WORKER_SILENCE = 300
"""Seconds after which a worker that reports every few counts as gone."""


_LOOK = "`systemctl status portside-agent-worker`"


class Ready:
    """Would an upload be taken? 200, or 503 with the reasons."""

    def __init__(self, settings: Settings, health: NodeHealth) -> None:
        self._settings = settings
        self._health = health

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """`{"ready": true, "reasons": [], "warnings": []}`."""
        reasons = self._health.reasons()
        response.status = falcon.HTTP_503 if reasons else falcon.HTTP_200
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "no-store")
        response.text = Readiness(
            ready=not reasons, reasons=reasons, warnings=self._warnings()
        ).model_dump_json()

    def _warnings(self) -> tuple[str, ...]:
        """What an operator should look at although uploads work."""
        report = worker_report.read(self._settings.worker_report)
        if report is None:
            return (f"worker-silent: the agent's worker has not reported yet: {_LOOK}",)
        age = time.time() - report.time
        if age > WORKER_SILENCE:
            return (f"worker-silent: its last report is {age:.0f} s old: {_LOOK}",)
        return report.warnings
