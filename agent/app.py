"""The agent's web side: routes, and the one place where problems become answers."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import falcon
import structlog

from agent.api import files, metrics_page, probes, replicate, resumable, system, uploads
from agent.api.authorization import Access
from agent.api.metrics_page import Readings
from agent.api.openapi import document, resource
from agent.api.openapi.operations import OPERATIONS
from agent.cluster import identity
from agent.cluster.roster import Rosters
from agent.index.database import Database
from agent.index.files import Index
from agent.index.revocations import Revocations
from agent.index.uploads import Sessions
from agent.integrity.recovery import recover
from agent.problems import ProblemError
from agent.replication.authorization import Sources
from agent.replication.receiver import Replicas
from agent.resumable.completion import Finisher
from agent.resumable.intake import Intake
from agent.resumable.service import ResumableUploads
from agent.resumable.staging import StagedUploads
from agent.settings import Settings
from agent.storage.commit import Committer
from agent.storage.verification import Verifier
from agent.telemetry.health import NodeHealth
from agent.telemetry.metrics import Metrics
from agent.telemetry.request_log import Answered, RequestLog
from agent.uploads.acknowledgement import Acknowledgement
from agent.uploads.admission import Admission
from agent.uploads.policy import UploadPolicy
from agent.uploads.preflight import Preflight
from agent.uploads.rate_limit import UploadRate
from agent.uploads.write_path import WritePath
from portside.wire import paths
from portside.wire.keys import Keyset

_log = structlog.get_logger()


def create_app(settings: Settings) -> falcon.App[falcon.Request, falcon.Response]:
    """The agent as a WSGI application, its storage recovered first.

    Raises NodeUnfit, IdentityError, DiskFull or DiskFailed when the node can't take uploads at all.
    """
    key = identity.load(settings.node_key, settings.node_id)
    keyset = Keyset.model_validate_json(settings.keyset.read_bytes())
    health = NodeHealth(settings)
    database = Database(settings.index)
    index = Index(database)
    committer = Committer(settings, index, key)
    recover(settings, database, index, committer)
    admission = Admission(settings.root, settings.sizing)
    metrics = Metrics()
    metrics.registry.register(Readings(settings, database, health, admission))
    sessions = Sessions(database)
    rosters = Rosters(settings)
    policy = UploadPolicy(
        settings=settings,
        keyset=keyset,
        index=index,
        sessions=sessions,
        health=health,
        rate=UploadRate(settings.uploads_per_minute),
        revocations=Revocations(database),
        acknowledgement=Acknowledgement(settings, database, rosters, admission),
    )
    preflight = Preflight(policy, admission)
    write_path = WritePath(policy, admission, committer)
    staged = StagedUploads(settings, sessions, admission)
    intake = Intake(
        settings=settings,
        sessions=sessions,
        admission=admission,
        health=health,
        staged=staged,
        finisher=Finisher(sessions, staged, admission, committer),
    )
    resumables = ResumableUploads(policy, intake)
    replicas = Replicas(Sources(settings.node_id, keyset, rosters), database, intake)
    access = Access(settings, keyset, database)
    verifier = Verifier(settings, database)

    app = falcon.App(middleware=[RequestLog(metrics)])
    # An answer without a body has no type either. falcon takes None, whatever its annotation says.
    app.resp_options.default_media_type = None  # type: ignore[assignment]
    app.add_error_handler(ProblemError, _answer_problem)
    app.add_error_handler(falcon.HTTPError, _answer_http_error)
    app.add_error_handler(Exception, _answer_unforeseen)

    upload = uploads.Upload(preflight, write_path, metrics)
    app.add_route(paths.UPLOAD, upload)
    app.add_route(f"{paths.UPLOAD}/{{name:path}}", upload, suffix="named")
    app.add_route(
        "/internal/preflight",
        uploads.PreflightProbe(preflight, resumables, replicas, metrics),
    )
    app.add_route(f"{paths.REPLICATE}/{{path:path}}", replicate.Replicate(replicas, metrics))
    app.add_route(paths.RESUMABLE_UPLOADS, resumable.Uploads(settings, resumables, metrics))
    app.add_route(
        f"{paths.RESUMABLE_UPLOADS}/{{upload_id}}",
        resumable.OneUpload(settings, resumables, metrics),
    )
    app.add_route(paths.FILES, files.Files(database, access))
    app.add_route(f"{paths.FILES}/{{file_id}}", files.File(settings, database, access, health))
    app.add_route(f"{paths.FILES}/{{file_id}}/content", files.Content(database, access))
    app.add_route(
        f"{paths.FILES}/{{file_id}}/verify", files.Verify(database, access, verifier, health)
    )
    app.add_route("/internal/download", files.DownloadProbe(access))
    app.add_route(paths.UPLOAD_STATUS, system.Status(settings, health, admission, metrics))
    app.add_route(paths.KEYS, system.Keys(key))
    app.add_route("/metrics", metrics_page.MetricsPage(metrics.registry))
    app.add_route("/health/live", probes.Live())
    app.add_route("/health/ready", probes.Ready(settings, health))
    own_description = resource.Description()
    app.add_route("/openapi.json", own_description)
    own_description.publish(document.document(app, OPERATIONS, version("portside")))
    return app


def _answer_problem(
    request: falcon.Request, response: falcon.Response, problem: ProblemError, params: Any
) -> None:
    response.context.answered = Answered(request.method, request.path, problem.status, problem.slug)
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
