"""The control plane's web side: routes, and the one place where problems become answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import falcon
import structlog

from control.api import files, moves, nodes, openapi, probes, sessions
from control.api.authorization import Access
from control.api.metrics import Metrics, Readings
from control.api.operations import OPERATIONS
from control.api.request_log import RequestLog
from control.cluster import issuer
from control.cluster.snapshot import Snapshots
from control.db.database import RETRY_AFTER, Database, DatabaseUnavailable
from control.moves.rules import COMMANDS
from control.nodes.heartbeats import Heartbeats
from control.problems import ProblemError
from control.sessions.service import Sessions
from control.settings import Settings
from portside.wire import paths

_log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(
    settings: Settings, database: Database, clock: Callable[[], datetime] = _now
) -> falcon.App[falcon.Request, falcon.Response]:
    """The control plane as a WSGI application. It starts without its database and waits for it.

    Raises IssuerKeyUnusable for an issuer's key that is there but can't be used.
    """
    key = issuer.load(settings)
    snapshots = Snapshots(settings, database, clock)
    metrics = Metrics()
    metrics.registry.register(Readings(snapshots, database))
    access = Access(snapshots)
    opening = Sessions(settings, database, snapshots, key)
    heartbeats = Heartbeats(settings, database, snapshots)

    app = falcon.App(middleware=[RequestLog(metrics)])
    # An answer without a body has no type either. falcon takes None, whatever its annotation says.
    app.resp_options.default_media_type = None  # type: ignore[assignment]
    app.req_options.auto_parse_qs_csv = False
    app.add_error_handler(ProblemError, _answer_problem)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(DatabaseUnavailable, _answer_unavailable)
    app.add_error_handler(Exception, _answer_unforeseen)

    app.add_route(paths.SESSIONS, sessions.UploadSessions(access, opening, metrics, clock))
    app.add_route("/api/v1/upload/server", sessions.UploadServers(access, opening))
    every_node = nodes.Nodes(access, database, snapshots)
    app.add_route(paths.NODES, every_node)
    app.add_route(f"{paths.NODES}/{{node_id}}", every_node, suffix="one")
    app.add_route(
        f"{paths.NODES}/{{node_id}}/heartbeat", nodes.NodeHeartbeats(heartbeats, metrics, clock)
    )
    app.add_route(
        f"{paths.NODES}/{{node_id}}/state",
        nodes.NodeStates(settings, access, database, snapshots, clock),
    )
    pools = nodes.Pools(access, database, snapshots)
    app.add_route("/api/v1/pools", pools)
    app.add_route("/api/v1/pools/{pool_id}", pools, suffix="one")
    app.add_route(paths.FILES, files.Files(settings, access, database, snapshots, clock))
    one_file = files.OneFile(settings, access, database, snapshots, key, clock)
    app.add_route(f"{paths.FILES}/{{file_id}}", one_file)
    app.add_route(f"{paths.FILES}/{{file_id}}/url", one_file, suffix="url")
    every_move = moves.Moves(settings, access, database, snapshots, clock)
    app.add_route(paths.MOVES, every_move)
    app.add_route(f"{paths.MOVES}/{{move_id}}", every_move, suffix="one")
    for wish in COMMANDS:
        app.add_route(
            f"{paths.MOVES}/{{move_id}}/{wish}", moves.MoveCommands(access, database, wish, clock)
        )
    app.add_route("/health/live", probes.Live())
    app.add_route("/health/ready", probes.Ready(database, snapshots, key))
    app.add_route("/metrics", probes.MetricsPage(metrics.registry))
    description = probes.Description()
    app.add_route("/openapi.json", description)
    description.publish(openapi.document(app, OPERATIONS, version("portside")))
    return app


def _answer_problem(
    request: falcon.Request, response: falcon.Response, problem: ProblemError, params: Any
) -> None:
    response.context.outcome = problem.slug
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


def _answer_unavailable(
    request: falcon.Request, response: falcon.Response, error: DatabaseUnavailable, params: Any
) -> None:
    problem = ProblemError(
        "database-unavailable",
        "the control plane's database doesn't answer: try again in a moment; uploads with tokens "
        "and downloads go on",
        {"Retry-After": str(RETRY_AFTER)},
    )
    _answer_problem(request, response, problem, params)


def _answer_unforeseen(
    request: falcon.Request, response: falcon.Response, error: Exception, params: Any
) -> None:
    _log.error("unforeseen error", path=request.path, exc_info=error)
    problem = ProblemError("internal-error", "the control plane failed; its log says why")
    _answer_problem(request, response, problem, params)
