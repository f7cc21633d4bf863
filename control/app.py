"""The control plane's web side: what it is made of, and its routes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import falcon

from control.api import (
    apps,
    files,
    lasting,
    moves,
    nodes,
    pools,
    probes,
    revocations,
    sessions,
    usage,
)
from control.api.metrics import ClusterGauges, CopyGauges, Metrics, ReplicaGauges
from control.api.operations import API, OPERATIONS
from control.api.requests.authorization import Access
from control.api.requests.conventions import Conventions
from control.api.requests.request_log import RequestLog
from control.api.requests.resource import Services
from control.cluster import issuer
from control.cluster.key_use import KeyUse
from control.cluster.snapshot import Snapshots
from control.db.database import RETRY_AFTER, Database, DatabaseUnavailable
from control.files.serving import Signing
from control.moves.rules import COMMANDS
from control.nodes.deletion_orders import DeletionOrders
from control.nodes.heartbeats import Heartbeats
from control.nodes.inventories import Inventories
from control.nodes.runs import Runs
from control.problems import ProblemError
from control.sessions.opening import SessionOpener
from control.settings import Settings
from portside.web.app import App, add_common_routes, answer_problem, new_app
from portside.web.wrong_credentials import WrongCredentials
from portside.wire import paths


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: Settings, database: Database, clock: Callable[[], datetime] = _now) -> App:
    """The control plane as a WSGI application. It starts without its database and waits for it.

    Raises IssuerKeyUnusable for an issuer's key that is there but can't be used.
    """
    key = issuer.load(settings)
    snapshots = Snapshots(settings, database, clock)
    metrics = Metrics()
    metrics.registry.register(ClusterGauges(snapshots, database))
    if settings.replica_socket is not None:
        metrics.registry.register(ReplicaGauges(settings.replica_socket, clock))
    if settings.copies is not None:
        metrics.registry.register(CopyGauges(settings.copies, clock))
    wrong = WrongCredentials(settings.wrong_keys_per_minute, ProblemError)
    access = Access(snapshots, wrong, KeyUse(database), clock)
    services = Services(settings, access, database, snapshots, clock)
    opener = SessionOpener(settings, database, snapshots, key)
    runs = Runs(settings.heartbeat_every)
    orders = DeletionOrders(settings, key)
    heartbeats = Heartbeats(settings, database, snapshots, runs, orders)

    app = new_app(RequestLog(metrics.problem), ProblemError, "the control plane", wrong)
    app.req_options.auto_parse_qs_csv = False
    app.add_error_handler(DatabaseUnavailable, _answer_unavailable)
    app.add_middleware(Conventions(OPERATIONS))

    app.add_route(paths.SESSIONS, sessions.UploadSessions(access, opener, metrics, clock))
    app.add_route("/api/v1/upload/server", sessions.UploadServers(access, opener))
    every_node = nodes.Nodes(services)
    app.add_route(paths.NODES, every_node)
    app.add_route(f"{paths.NODES}/{{node_id}}", every_node, suffix="one")
    app.add_route(
        f"{paths.NODES}/{{node_id}}/heartbeat", nodes.NodeHeartbeats(heartbeats, metrics, clock)
    )
    inventories = nodes.NodeInventories(
        Inventories(settings, database, snapshots, runs, orders), clock
    )
    app.add_route(f"{paths.NODES}/{{node_id}}/inventory", inventories)
    app.add_route(f"{paths.NODES}/{{node_id}}/inventory/files", inventories, suffix="files")
    app.add_route(
        f"{paths.NODES}/{{node_id}}/state",
        nodes.NodeStates(services),
    )
    app.add_route(paths.REPAIR, nodes.Repair(services))
    every_app = apps.Apps(services)
    app.add_route(paths.APPS, every_app)
    app.add_route(f"{paths.APPS}/{{app_id}}", every_app, suffix="one")
    app.add_route(f"{paths.APPS}/{{app_id}}/keys", every_app, suffix="keys")
    app.add_route(f"{paths.APPS}/{{app_id}}/keys/{{key_id}}", every_app, suffix="key")
    every_pool = pools.Pools(services)
    app.add_route(paths.POOLS, every_pool)
    app.add_route(f"{paths.POOLS}/{{pool_id}}", every_pool, suffix="one")
    app.add_route(paths.FILES, files.Files(services))
    one_file = files.OneFile(services, key)
    for way in ("hold", "release"):
        app.add_route(f"{paths.FILES}/{{file_id}}/{way}", files.Hold(services, held=way == "hold"))
    app.add_route(f"{paths.FILES}/{{file_id}}", one_file)
    app.add_route(f"{paths.FILES}/{{file_id}}/url", one_file, suffix="url")
    trusted = issuer.trusted(settings, key)
    app.add_route(paths.REVOKED, revocations.Revocations(services, trusted))
    by_id = lasting.Lasting(services, Signing(key, trusted))
    app.add_route(f"{paths.LASTING}/{{file_id}}", by_id)
    app.add_route(f"{paths.LASTING}/{{file_id}}/{{name:path}}", by_id)
    every_move = moves.Moves(services)
    app.add_route(paths.MOVES, every_move)
    app.add_route(f"{paths.MOVES}/{{move_id}}", every_move, suffix="one")
    for wish in COMMANDS:
        app.add_route(f"{paths.MOVES}/{{move_id}}/{wish}", moves.MoveCommands(services, wish))
    app.add_route(paths.USAGE, usage.UsagePages(services))
    # An owner's id may have slashes in it.
    app.add_route(f"{paths.QUOTAS}/owners/{{owner:path}}", usage.OwnerQuotas(services))
    app.add_route(f"{paths.QUOTAS}/apps/{{app_id}}", usage.AppQuotas(services))
    app.add_route("/health/ready", probes.Ready(settings, database, snapshots, key, clock))
    add_common_routes(app, metrics.registry, API, OPERATIONS)
    return app


def _answer_unavailable(
    request: falcon.Request, response: falcon.Response, error: DatabaseUnavailable, params: Any
) -> None:
    problem = ProblemError(
        "database-unavailable",
        "the control plane's database doesn't answer: try again in a moment; uploads with tokens "
        "and downloads go on",
        {"Retry-After": str(RETRY_AFTER)},
    )
    answer_problem(request, response, problem)
