"""`/health/ready`: would the node take an upload?"""

from __future__ import annotations

import math

import falcon

from agent.settings import Settings
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from agent.uploads.admission import Admission
from portside.web.resources import answers_head
from portside.wire.status import Readiness

_LOOK = "`systemctl status portside-agent-worker`"


@answers_head
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
            return (f"worker-silent: the agent's worker has not reported yet: {_LOOK}",)
        age = report.age()
        if age > worker_report.SILENCE:
            return (f"worker-silent: it last reported {_ago(age)}: {_LOOK}",)
        return report.warnings


def _ago(seconds: float) -> str:
    if math.isinf(seconds):
        return "before this machine was started"
    return f"{seconds:.0f} s ago"
