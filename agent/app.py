"""The agent's web side: what it is made of, and its routes."""

from __future__ import annotations

from importlib.metadata import version

import structlog

from agent.api import (
    files,
    holds,
    lasting,
    probes,
    quarantine,
    replicate,
    resumable,
    system,
    uploads,
    usage,
)
from agent.api.authorization import Access
from agent.api.metrics_page import NodeGauges
from agent.api.openapi.components import API
from agent.api.openapi.operations import OPERATIONS
from agent.cluster import identity
from agent.cluster.issuers import Issuers
from agent.cluster.roster import Rosters
from agent.index.files import FileIndex
from agent.index.revocations import Revocations
from agent.index.uploads import UploadIndex
from agent.index.usage import UsageIndex
from agent.integrity.recovery import recover, tell_what_is_there
from agent.problems import ProblemError
from agent.replication.authorization import Sources
from agent.replication.orders import CopyOrders
from agent.replication.receiver import ReplicaReceiver
from agent.resumable.completion import Completion
from agent.resumable.intake import Intake
from agent.resumable.service import ResumableUploads
from agent.resumable.staging import StagedUploads
from agent.settings import Settings
from agent.storage.commit import Committer
from agent.storage.opening import open_index
from agent.storage.verification import Verifier
from agent.telemetry import span_export
from agent.telemetry.health import NodeHealth
from agent.telemetry.metrics import Metrics
from agent.telemetry.progress import ProgressLog
from agent.telemetry.request_log import RequestLog
from agent.uploads.acknowledgement import Acknowledgement
from agent.uploads.admission import Admission
from agent.uploads.bandwidth import Bandwidth
from agent.uploads.policy import UploadPolicy
from agent.uploads.preflight import Preflight
from agent.uploads.rate_limit import UploadRate
from agent.uploads.shared import handing_back, ledger
from agent.uploads.shares import SlotShares
from agent.uploads.write_path import WritePath
from portside.web.app import App, add_common_routes, new_app
from portside.web.wrong_credentials import WrongCredentials
from portside.wire import paths

_log = structlog.get_logger()


def create_app(settings: Settings) -> App:
    """The agent as a WSGI application, its storage recovered first.

    Raises NodeUnfit, IdentityError, DiskFull or DiskFailed when the node can't take uploads at all.
    """
    key = identity.follow(settings.node_key, settings.node_id)
    rosters = Rosters(settings)
    issuers = Issuers(settings, rosters)
    health = NodeHealth(settings)
    database = open_index(settings)
    index = FileIndex(database)
    committer = Committer(settings, index, key)
    recover(settings, database, index, committer)
    tell_what_is_there(database)
    upload_index = UploadIndex(database)
    admission = Admission(
        *(settings.root, settings.sizing, upload_index),
        shares=_shares(settings),
        usage=UsageIndex(database),
        bandwidth=Bandwidth(settings.bandwidth),
        shared=ledger.beside(settings.agent_socket),
    )
    handing_back.watch(admission, settings.agent_socket.parent)
    metrics = Metrics()
    relay = span_export.of_web_side(settings)
    metrics.registry.register(NodeGauges(settings, database, health, admission, relay))
    policy = UploadPolicy(
        settings=settings,
        issuers=issuers.current,
        index=index,
        uploads=upload_index,
        health=health,
        rate=UploadRate(settings.uploads_per_minute),
        revocations=Revocations(database),
        acknowledgement=Acknowledgement(settings, database, rosters, admission),
        rosters=rosters,
    )
    preflight = Preflight(policy, admission)
    progress = ProgressLog()
    write_path = WritePath(policy, admission, committer, progress)
    staged = StagedUploads(settings, upload_index, admission)
    intake = Intake(
        settings=settings,
        uploads=upload_index,
        admission=admission,
        health=health,
        staged=staged,
        progress=progress,
        finisher=Completion(upload_index, staged, admission, committer),
    )
    resumables = ResumableUploads(policy, intake)
    replicas = ReplicaReceiver(
        Sources(settings.node_id, rosters),
        CopyOrders(settings, issuers.current, rosters, Revocations(database).refuse),
        *(database, intake),
    )
    access = Access(settings, issuers.current, database)
    verifier = Verifier(settings, database)

    _log.info(
        "agent ready",
        node=settings.node_id,
        version=version("portside"),
        upload_slots=settings.sizing.upload_slots,
        reasons=health.reasons(),
    )
    wrong = WrongCredentials(settings.wrong_tokens_per_minute, ProblemError)
    app = new_app(RequestLog(metrics.problem), ProblemError, "the node", wrong)
    app.add_middleware(resumable.PlainPaths())

    upload = uploads.Upload(preflight, write_path, metrics)
    app.add_route(paths.UPLOAD, upload)
    app.add_route(f"{paths.UPLOAD}/{{name:path}}", upload, suffix="named")
    app.add_route(
        "/internal/preflight",
        uploads.PreflightProbe(preflight, resumables, replicas, metrics, wrong),
    )
    app.add_route(f"{paths.REPLICATE}/{{path:path}}", replicate.Replicate(replicas, metrics))
    app.add_route(paths.RESUMABLE_UPLOADS, resumable.Uploads(settings, resumables, metrics))
    app.add_route(
        f"{paths.RESUMABLE_UPLOADS}/{{upload_id}}",
        resumable.OneUpload(settings, resumables, metrics),
    )
    app.add_route(paths.FILES, files.Files(database, access))
    app.add_route(
        f"{paths.FILES}/{{file_id}}", files.File(settings, database, access, health, rosters)
    )
    app.add_route(f"{paths.FILES}/{{file_id}}/content", files.Content(database, access))
    app.add_route(
        f"{paths.FILES}/{{file_id}}/verify", files.Verify(database, access, verifier, health)
    )
    for way in ("hold", "release"):
        resource = holds.Hold(settings, database, access, health, way)
        app.add_route(f"{paths.FILES}/{{file_id}}/{way}", resource)
    app.add_route(paths.QUARANTINE, quarantine.Kept(settings, database, access))
    app.add_route(
        f"{paths.QUARANTINE}/{{kept_id}}",
        quarantine.Settling(settings, database, access, health, key),
    )
    app.add_route(paths.USAGE, usage.Usage(settings, access, admission))
    app.add_route("/internal/download", files.DownloadProbe(database, access, wrong))
    whereabouts = lasting.Whereabouts(settings, database, access, rosters)
    by_id = lasting.Lasting(database, access, whereabouts)
    app.add_route(f"{paths.LASTING}/{{file_id}}", by_id)
    app.add_route(f"{paths.LASTING}/{{file_id}}/{{name:path}}", by_id)
    app.add_route("/internal/missing", lasting.Missing(database, access, whereabouts))
    status = system.Status(settings, health, admission, metrics, progress)
    app.add_route(paths.UPLOAD_STATUS, status)
    app.add_route(paths.KEYS, system.Keys(settings.node_id, key, rosters))
    app.add_route("/health/ready", probes.Ready(settings, health, admission))
    add_common_routes(app, metrics.registry, API, OPERATIONS)
    return app


def _shares(settings: Settings) -> SlotShares:
    return SlotShares(
        per_token=settings.slots_per_token,
        per_owner=settings.slots_per_owner,
        per_address=settings.slots_per_address,
        shared_addresses=settings.shared_addresses,
        least_rate=settings.least_rate,
        idle_after=settings.idle_after,
    )
