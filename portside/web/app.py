"""A service's falcon app without its routes: the one place where problems become answers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import falcon
import structlog
from prometheus_client import CollectorRegistry

from portside.web.openapi import Api, Operations, Slug
from portside.web.openapi_document import document
from portside.web.problems import PROBLEM_TYPE, BaseProblemError
from portside.web.request_log import Answered, RequestLog
from portside.web.resources import Description, Live, MetricsPage
from portside.web.wrong_credentials import WrongCredentials

App = falcon.App[falcon.Request, falcon.Response]

_log = structlog.get_logger()


def new_app(
    request_log: RequestLog,
    problem_type: type[BaseProblemError[Any]],
    name: str,
    wrong: WrongCredentials,
) -> App:
    """An app whose every error is answered as a problem of this type.

    `name` is the service's in a sentence ("the node"), for whoever it fails; `wrong` counts tokens
    and keys that are none.
    """
    app = falcon.App(middleware=[request_log])
    # An answer without a body has no type either. falcon takes None, whatever its annotation says.
    app.resp_options.default_media_type = None  # type: ignore[assignment]
    handlers = _ErrorHandlers(problem_type, name, wrong)
    app.add_error_handler(BaseProblemError, handlers.problem)
    app.add_error_handler(falcon.HTTPError, handlers.http_error)
    app.add_error_handler(Exception, handlers.unforeseen)
    return app


def add_common_routes(
    app: App, registry: CollectorRegistry, api: Api[Slug], operations: Operations[Slug]
) -> None:
    """What every service has beside its own routes, which are there already."""
    app.add_route("/health/live", Live())
    app.add_route("/metrics", MetricsPage(registry))
    description = Description(lambda: document(app, api, operations, version("portside")))
    app.add_route("/openapi.json", description)


def answer_problem(
    request: falcon.Request,
    response: falcon.Response,
    problem: BaseProblemError[Any],
    path: str | None = None,
) -> None:
    """Answer with a problem's document and headers, and tell the request log.

    `path` is the one that was asked for, where nginx has sent the request to another.
    """
    asked = request.path if path is None else path
    response.context.answered = Answered(request.method, asked, problem.status, problem.slug)
    response.status = problem.status
    response.content_type = PROBLEM_TYPE
    response.set_headers(problem.headers)
    response.text = problem.document(asked).model_dump_json(exclude_none=True)


class _ErrorHandlers:
    """What falcon calls for errors that leave a handler, with problems of one service."""

    def __init__(
        self, problem_type: type[BaseProblemError[Any]], name: str, wrong: WrongCredentials
    ) -> None:
        self._problem_type = problem_type
        self._name = name
        self._wrong = wrong

    def problem(
        self,
        request: falcon.Request,
        response: falcon.Response,
        problem: BaseProblemError[Any],
        params: Any,
    ) -> None:
        """Our own refusals."""
        answer_problem(request, response, self._wrong.judged(request, problem))

    def http_error(
        self,
        request: falcon.Request,
        response: falcon.Response,
        error: falcon.HTTPError,
        params: Any,
    ) -> None:
        """Falcon's refusals (no such path, no such method) in the same shape as ours."""
        if isinstance(error, falcon.HTTPNotFound):
            problem = self._problem_type("not-found", "there is nothing at this path")
        elif isinstance(error, falcon.HTTPMethodNotAllowed):
            problem = self._problem_type(
                "method-not-allowed", f"{request.method} is not for this path"
            )
        else:
            problem = self._problem_type(
                "malformed-request",
                error.description or error.title or "the request can't be read",
            )
        answer_problem(request, response, problem)
        response.set_headers(error.headers or {})

    def unforeseen(
        self, request: falcon.Request, response: falcon.Response, error: Exception, params: Any
    ) -> None:
        """Our own mistakes, and whatever the machine does that nobody has thought of."""
        _log.error("unforeseen error", path=request.path, exc_info=error)
        problem = self._problem_type("internal-error", f"{self._name} failed; its log says why")
        answer_problem(request, response, problem)
