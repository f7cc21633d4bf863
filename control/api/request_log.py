"""Each request's id, for every line written on its behalf, and a line when it is answered."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import falcon
import structlog

from control.api.metrics import Metrics
from portside import journal

_ID = re.compile(r"[0-9a-f]{32}")
"""nginx's $request_id: 16 random bytes."""

_log = structlog.get_logger()


class RequestLog:
    """A falcon middleware; `response.context.outcome` tells it of problems, which it counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Before anything else."""
        given = request.get_header("X-Request-ID", default="")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(16)
        journal.begin_request(request_id)
        request.context.begun = time.monotonic()
        response.set_header("X-Request-ID", request_id)

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: Any,
        req_succeeded: bool,
    ) -> None:
        """After everything else: one line, but for heartbeats that went well and for probes."""
        outcome = str(response.context.get("outcome", "ok"))
        if outcome != "ok":
            self._metrics.problems.labels(outcome).inc()
        quiet = request.path.endswith("/heartbeat") or not request.path.startswith("/api/")
        if outcome == "ok" and quiet:
            return
        _log.info(
            "request answered",
            method=request.method,
            path=request.path,
            status=response.status_code,
            outcome=outcome,
            seconds=round(time.monotonic() - request.context.begun, 4),
        )
