"""Each request's id, for every line that is written on its behalf, and a line when it is answered.

nginx gives every request an id and writes it into its own log; a request that comes without one
(a probe on the node itself) is given one here.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from typing import Any

import falcon
import structlog

from agent.telemetry.metrics import Metrics
from portside import journal
from portside.wire import paths

_ID = re.compile(r"[0-9a-f]{32}")
"""nginx's $request_id: 16 random bytes."""

_LOGGED = (paths.UPLOAD, paths.REPLICATE, paths.RESUMABLE_UPLOADS, paths.FILES)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answered:
    """A problem and the request that has it: what nginx asks about a request isn't another one.

    `outcome` is the problem's slug, or `ok`.
    """

    method: str
    path: str
    status: int
    outcome: str


class RequestLog:
    """A falcon middleware; `response.context.answered` tells it of problems, which it counts."""

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
        """After everything else: one line about uploads and files."""
        answered: Answered | None = response.context.get("answered")
        if answered is None:
            answered = Answered(request.method, request.path, response.status_code, "ok")
        else:
            self._metrics.problem(answered.outcome)
        if answered.path.startswith(_LOGGED):
            _log.info(
                "request answered",
                method=answered.method,
                path=answered.path,
                status=answered.status,
                outcome=answered.outcome,
                received=request.content_length or 0,
                seconds=round(time.monotonic() - request.context.begun, 3),
            )
