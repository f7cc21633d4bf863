"""The agent's web side: routes, and the one place where problems become answers."""

from __future__ import annotations

from typing import Any

import falcon
import structlog

from agent import identity
from agent.admission import Admission
from agent.commit import Committer
from agent.health import NodeHealth
from agent.index import Index
from agent.preflight import Preflight
from agent.problems import ProblemError
from agent.recovery import recover
from agent.resources import files, probes, system, uploads
from agent.settings import Settings
from agent.write_path import WritePath
from portside.tokens import Keyset

_log = structlog.get_logger()


def create_app(settings: Settings) -> falcon.App[falcon.Request, falcon.Response]:
    """The agent as a WSGI application, its storage recovered first.

    Raises NodeUnfit, IdentityError, DiskFull or DiskFailed when the node can't take uploads at all.
    """
    key = identity.load(settings.node_key, settings.node_id)
    keyset = Keyset.model_validate_json(settings.keyset.read_bytes())
    health = NodeHealth(settings)
    index = Index(settings.index)
    committer = Committer(settings, index, key)
    recover(settings, index, committer)
    admission = Admission(settings.root, settings.sizing)
    preflight = Preflight(settings, keyset, index, health, admission)
    write_path = WritePath(settings, preflight, admission, committer, health)

    app = falcon.App()
    app.add_error_handler(ProblemError, _answer_problem)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(Exception, _answer_unforeseen)

    upload = uploads.Upload(preflight, write_path, health)
    app.add_route("/api/internal/upload", upload)
    app.add_route("/api/internal/upload/{name:path}", upload, suffix="named")
    app.add_route("/internal/preflight", uploads.PreflightProbe(preflight, health))
    app.add_route("/api/v1/files/{file_id}", files.File(index))
    app.add_route("/api/v1/system/upload-status", system.Status(settings, health, admission))
    app.add_route("/api/v1/system/keys", system.Keys(key))
    app.add_route("/health/live", probes.Live())
    app.add_route("/health/ready", probes.Ready(settings, health))
    return app


def _answer_problem(
    request: falcon.Request, response: falcon.Response, problem: ProblemError, params: Any
) -> None:
    response.status = problem.status
    response.content_type = "application/problem+json"
    response.set_headers(problem.headers)
    response.text = problem.document(request.path).model_dump_json(exclude_none=True)


def _answer_http_error(
    request: falcon.Request, response: falcon.Response, error: falcon.HTTPError, params: Any
) -> None:
    """Falcon's own refusals (no such path, no such method) in the same shape as ours."""
    if isinstance(error, falcon.HTTPNotFound):
        problem = ProblemError("not-found", "there is nothing at this path")
    elif isinstance(error, falcon.HTTPMethodNotAllowed):
        problem = ProblemError("method-not-allowed", f"{request.method} is not for this path")
    else:
        problem = ProblemError("malformed-request", error.title or "the request can't be read")
    _answer_problem(request, response, problem, params)
    response.set_headers(error.headers or {})


def _answer_unforeseen(
    request: falcon.Request, response: falcon.Response, error: Exception, params: Any
) -> None:
    _log.error("unforeseen error", path=request.path, exc_info=error)
    problem = ProblemError("internal-error", "the node failed; its log says why")
    _answer_problem(request, response, problem, params)
