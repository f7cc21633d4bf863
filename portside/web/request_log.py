"""Each request's id and trace, for every line that is written on its behalf, and one when it is
answered, which is its span's end as well.

nginx gives every request an id and writes it into its own log; a request that comes without one
(a probe on the machine itself) is given one here. A request that comes without a trace begins one
with its own id, as nginx's log has it then (templates/nginx/logging.conf.j2).
"""

from __future__ import annotations

import re
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import falcon
import structlog

from portside import journal
from portside.tracing import context, current, spans

_ID = re.compile(r"[0-9a-f]{32}")
"""nginx's $request_id: 16 random bytes."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answered:
    """How a request was answered. One that nginx asks about isn't the one that asks.

    `outcome` is the problem's slug, or `ok`.
    """

    method: str
    path: str
    status: int
    outcome: str

    @property
    def well(self) -> bool:
        """Whether it was answered without a problem."""
        return self.outcome == "ok"


class RequestLog(ABC):
    """A falcon middleware; `response.context.answered` tells it of problems.

    `count_problem` is called with each one's slug. Which requests are worth a line, and what the
    line says beside the answer, a service decides in a class of its own.
    """

    def __init__(self, count_problem: Callable[[str], None]) -> None:
        self._count_problem = count_problem

    @abstractmethod
    def is_logged(self, answered: Answered) -> bool:
        """Whether this request is worth a line."""

    @abstractmethod
    def measured(self, request: falcon.Request, seconds: float) -> dict[str, float]:
        """What else the line says, of a request that took so many seconds."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Before anything else."""
        given = request.get_header("X-Request-ID", default="")
        request_id = given if _ID.fullmatch(given) else secrets.token_hex(16)
        journal.begin_request(request_id)
        request.context.begun = time.monotonic()
        request.context.step = _begun(request, request_id)
        current.take_up(request.context.step.at)
        response.set_header("X-Request-ID", request_id)

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: Any,
        req_succeeded: bool,
    ) -> None:
        """After everything else: the problem is counted, the line written."""
        answered: Answered | None = response.context.get("answered")
        if answered is None:
            answered = Answered(request.method, request.path, response.status_code, "ok")
        else:
            self._count_problem(answered.outcome)
        if self.is_logged(answered):
            _log.info(
                "request answered",
                method=answered.method,
                path=answered.path,
                status=answered.status,
                outcome=answered.outcome,
                **self.measured(request, time.monotonic() - request.context.begun),
            )
            _end(request.context.step, request, answered)


def _begun(request: falcon.Request, request_id: str) -> spans.Step:
    """The request's span: its sender's child, else the first of a trace."""
    sender = context.parse(
        request.get_header("traceparent", default=""), request.get_header("tracestate", default="")
    )
    at = spans.begin_trace(request_id) if sender is None else sender.child()
    parent = None if sender is None else sender.span_id
    return spans.Step(at, parent, request.method, spans.Kind.SERVER)


def _end(step: spans.Step, request: falcon.Request, answered: Answered) -> None:
    """What a request's span says, after OpenTelemetry's conventions for HTTP. No query is in it."""
    if not step.is_recorded:
        return
    step.name = f"{answered.method} {request.uri_template or ''}".rstrip()
    step.attributes |= {
        "http.request.method": answered.method,
        "http.response.status_code": answered.status,
        "url.path": answered.path,
        "url.scheme": request.forwarded_scheme,
        "http.request.body.size": request.content_length or 0,
        "portside.outcome": answered.outcome,
    }
    if request.uri_template:
        step.attributes["http.route"] = request.uri_template
    if answered.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        step.failure = answered.outcome
    step.end()
