"""`/health/ready`: would the node take an upload?"""

from __future__ import annotations

import time

import falcon

from agent.settings import Settings
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from agent.uploads.admission import Admission
from portside.wire.status import Readiness

WORKER_SILENCE = 300
"""Seconds after which a worker that reports every few counts as gone."""


class Ready:
    """Would an upload be taken? 200, or 503 with the reasons."""

    def __init__(self, settings: Settings, health: NodeHealth, admission: Admission) -> None:
        self._settings = settings
        self._health = health
        self._admission = admission

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """`{"ready": true, "reasons": [], "warnings": []}`."""
        reasons = self._health.reasons()
        response.status = falcon.HTTP_503 if reasons else falcon.HTTP_200
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "no-store")
        response.text = Readiness(
            ready=not reasons,
            reasons=reasons,
            # A node that is full is as it should be otherwise: it serves, deletes and is deployed.
            warnings=self._admission.shortages() + self._warnings(),
        ).model_dump_json()

    def _warnings(self) -> tuple[str, ...]:
        """What an operator should look at although uploads work."""
        report = worker_report.read(self._settings.worker_report)
        if report is None:
            return ("worker-silent: the agent's worker has not reported yet",)
        age = time.time() - report.time
        if age > WORKER_SILENCE:
            return (f"worker-silent: its last report is {age:.0f} s old",)
        return report.warnings
