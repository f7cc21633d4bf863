"""What each operation is for and what it can answer: the part of the API's description by hand.

A route without its entry here, or an entry without its route, fails a test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import falcon
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from control.api.files import UrlQuery
from control.api.sessions import ServerQuery
from control.problems import ProblemError, Slug
from portside.tokens import Refusal
from portside.web.openapi import (
    ANYONE,
    Answer,
    Api,
    Operation,
    Operations,
    Parameter,
    SecurityScheme,
    query_parameters,
)
from portside.web.redirects import AVOID, DOWNLOAD
from portside.wire.control import (
    FileReceipt,
    FileUrl,
    FileView,
    FileViews,
    NewPool,
    NodeStateRequest,
    NodeView,
    NodeViews,
    PoolSettings,
    PoolView,
    PoolViews,
    RepairView,
    Session,
    SessionRequest,
    UploadServer,
)
from portside.wire.fields import APP_ID_PATTERN, NODE_ID_PATTERN
from portside.wire.files import FileQuery, HoldRequest, LifetimeChange
from portside.wire.heartbeat import Heartbeat, HeartbeatAnswer
from portside.wire.inventory import (
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
    LeavingAnswer,
    LeavingQuestion,
    OnlyCopies,
    OnlyCopiesQuery,
)
from portside.wire.keys import (
    AppView,
    AppViews,
    KeyRequest,
    NewKeyView,
    RevocationRequest,
    RevokedView,
    RevokedViews,
)
from portside.wire.moves import MovePlan, MoveRequest, MoveView, MoveViews
from portside.wire.status import QuotaInForce, QuotaWish, Readiness, UsageQuery, UsageViews

_PLACED: tuple[Slug, ...] = ("no-space", "no-node")
_BODY: tuple[Slug, ...] = ("body-too-large", "media-type")
_HOLD: tuple[Slug, ...] = ("not-found", "file-deleted", "file-not-stored", *_BODY)
_APP: tuple[Slug, ...] = ("app-unknown",)
_MOVE: tuple[Slug, ...] = ("move-unknown",)
_TOKENS: tuple[Slug, ...] = get_args(Refusal)

_IDEMPOTENCY_KEY = Parameter(
    "header", "Idempotency-Key", {"type": "string"}, "The same key finds the same session again."
)

API_KEY: SecurityScheme[Slug] = SecurityScheme(
    "apiKey",
    {
        "type": "http",
        "scheme": "bearer",
        "description": "An app's API key: `portside-control app create NAME`.",
    },
    problems=("key-missing", "key-unknown", "scope-missing"),
)
HEARTBEAT_TOKEN: SecurityScheme[Slug] = SecurityScheme(
    "heartbeat",
    {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A `heartbeat+jwt` of the node over the request's body.",
    },
)

DOWNLOAD_TOKEN: SecurityScheme[Slug] = SecurityScheme(
    "downloadToken",
    {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A `download+jwt` for the file's path on any node of the cluster.",
    },
)

_CACHE = {"Cache-Control": "How long it may be kept, and by whom."}
_RETRY_AFTER = {"Retry-After": "Seconds to wait."}
_VARY = {"Vary": "The headers that it depends on."}

_LEADS_ON = {
    "Location": "The copy's own URL, signed where the file is private.",
    "Cache-Control": "How long that may be kept, and by whom.",
}
_AVOID = Parameter(
    "query", AVOID, {"type": "string"}, "Nodes that were tried, with commas: set by redirects."
)

_DOWNLOAD = Parameter(
    "query", DOWNLOAD, {"type": "string"}, "That a browser is to save what it would show."
)

API: Api[Slug] = Api(
    title="Portside control plane",
    description="Sessions for uploads, and where files are.",
    schemes=(API_KEY, HEARTBEAT_TOKEN, DOWNLOAD_TOKEN),
    problem_type=ProblemError,
    problems=("malformed-request", "rate-limited", "database-unavailable", "internal-error"),
    security=(API_KEY,),
    headers={"X-Request-ID": "What the control plane's logs have about this request."},
    problem_headers={
        401: {"WWW-Authenticate": "How to say who you are."},
        429: _RETRY_AFTER,
        503: _RETRY_AFTER,
    },
    phrases={
        415: "Unsupported Media Type, with Accept or Accept-Encoding where it is the body's",
    },
)

_OPERATIONS: dict[tuple[str, str], Operation[Slug]] = {
    ("POST", "/api/v1/upload/sessions"): Operation(
        "uploads",
        "Have a file uploaded: where to, and the token for it",
        {201: Session, 200: Session},
        (
            *_PLACED,
            "over-quota",
            *("namespace-refused", "node-unknown", "node-closed"),
            *(
                "name-refused",
                "name-taken",
                "too-large",
                "type-refused",
                "lifetime-refused",
                *_BODY,
            ),
            *("rate-limited", "too-much-promised", "issuer-key-missing", "idempotency-conflict"),
        ),
        body=SessionRequest,
        parameters=(_IDEMPOTENCY_KEY,),
    ),
    ("GET", "/api/v1/upload/server"): Operation(
        "uploads",
        "Where an upload would go now",
        {200: UploadServer},
        _PLACED,
        parameters=query_parameters(ServerQuery),
    ),
    ("POST", "/api/v1/nodes/{node_id}/heartbeat"): Operation(
        "nodes",
        "A node reports, and hears what there is for it",
        {200: HeartbeatAnswer},
        (
            *_TOKENS,
            "token-missing",
            "node-unknown",
            "heartbeat-replayed",
            "node-twice",
            "body-too-large",
        ),
        security=(HEARTBEAT_TOKEN,),
        body=Heartbeat,
    ),
    ("POST", "/api/v1/nodes/{node_id}/inventory"): Operation(
        "nodes",
        "A node asks in what a page of its files differs from what is known",
        {200: InventoryAnswer},
        (*_TOKENS, "token-missing", "node-unknown", "node-twice", "body-too-large"),
        security=(HEARTBEAT_TOKEN,),
        body=InventoryPage,
    ),
    ("POST", "/api/v1/nodes/{node_id}/inventory/files"): Operation(
        "nodes",
        "A node tells of files that it has and that aren't known",
        {200: HeldFilesAnswer},
        (*_TOKENS, "token-missing", "node-unknown", "node-twice", "rate-limited", "body-too-large"),
        security=(HEARTBEAT_TOKEN,),
        body=HeldFiles,
    ),
    ("GET", "/api/v1/nodes"): Operation("nodes", "Every node", {200: NodeViews}),
    ("GET", "/api/v1/nodes/{node_id}"): Operation(
        "nodes", "One node", {200: NodeView}, ("node-unknown",)
    ),
    ("POST", "/api/v1/nodes/{node_id}/state"): Operation(
        "nodes",
        "Activate, drain or retire a node, or let it be read only",
        {200: NodeView},
        ("node-unknown", "node-in-use", "drain-impossible", *_BODY),
        body=NodeStateRequest,
    ),
    ("GET", "/api/v1/nodes/{node_id}/leaving"): Operation(
        "nodes",
        "Files that a node should have and no other node has a good copy of",
        {200: OnlyCopies},
        ("node-unknown",),
        parameters=query_parameters(OnlyCopiesQuery),
    ),
    ("POST", "/api/v1/nodes/{node_id}/leaving"): Operation(
        "nodes",
        "Who else has files that a node says it has; nothing is changed",
        {200: LeavingAnswer},
        ("node-unknown", *_BODY),
        body=LeavingQuestion,
    ),
    ("GET", "/api/v1/repair"): Operation(
        "nodes", "Files that lack copies, and what is done about it", {200: RepairView}
    ),
    ("GET", "/api/v1/pools"): Operation("pools", "Every pool", {200: PoolViews}),
    ("POST", "/api/v1/pools"): Operation(
        "pools",
        "Make a pool on a node",
        {201: PoolView},
        ("node-unknown", "pool-taken", *_BODY),
        body=NewPool,
    ),
    ("GET", "/api/v1/pools/{pool_id}"): Operation(
        "pools", "One pool", {200: PoolView}, ("pool-unknown",)
    ),
    ("PUT", "/api/v1/pools/{pool_id}"): Operation(
        "pools",
        "Set a pool anew",
        {200: PoolView},
        ("pool-unknown", *_BODY),
        body=PoolSettings,
    ),
    ("PATCH", "/api/v1/pools/{pool_id}"): Operation(
        "pools",
        "Set of a pool what is given; null is as the node's again",
        {200: PoolView},
        ("pool-unknown", *_BODY),
        body=PoolSettings,
    ),
    ("DELETE", "/api/v1/pools/{pool_id}"): Operation(
        "pools",
        "Delete a pool that nothing is in",
        {200: PoolView},
        ("pool-unknown", "pool-in-use"),
    ),
    ("GET", "/api/v1/apps"): Operation("apps", "Every app and its keys", {200: AppViews}),
    ("GET", "/api/v1/apps/{app_id}"): Operation("apps", "One app", {200: AppView}, _APP),
    ("POST", "/api/v1/apps/{app_id}/keys"): Operation(
        "apps",
        "Give an app a second key, for the same as the one before; its text is told this once",
        {201: NewKeyView},
        (*_APP, "app-refused", *_BODY),
        body=KeyRequest,
        body_required=False,
    ),
    ("DELETE", "/api/v1/apps/{app_id}/keys/{key_id}"): Operation(
        "apps",
        "End one of an app's two keys",
        {200: AppView},
        (*_APP, "app-refused"),
    ),
    ("GET", "/api/v1/revocations"): Operation(
        "apps", "Tokens that are revoked and would count otherwise", {200: RevokedViews}
    ),
    ("POST", "/api/v1/revocations"): Operation(
        "apps",
        "Revoke an upload, access or download token, by itself or by its id: each node refuses it "
        "once its next heartbeat was answered",
        {201: RevokedView},
        ("revocations-full", *_BODY),
        body=RevocationRequest,
    ),
    ("GET", "/api/v1/files"): Operation(
        "files",
        "Search, newest first",
        {200: FileViews},
        parameters=query_parameters(FileQuery, undescribed=""),
    ),
    ("POST", "/api/v1/files"): Operation(
        "files",
        "Hand in a node's receipt",
        {200: FileView},
        (*_TOKENS, "receipt-conflict", *_BODY),
        security=(ANYONE,),
        body=FileReceipt,
    ),
    ("GET", "/api/v1/files/{file_id}"): Operation(
        "files", "A file, from its upload until it is safe", {200: FileView}, ("not-found",)
    ),
    ("PATCH", "/api/v1/files/{file_id}"): Operation(
        "files",
        "Another moment at which a file ends: prolonged, ended now, or taken back",
        {200: FileView},
        ("not-found", "file-deleted", "lifetime-refused", *_BODY),
        body=LifetimeChange,
    ),
    ("DELETE", "/api/v1/files/{file_id}"): Operation(
        "files", "Delete a file everywhere", {200: FileView}, ("not-found",)
    ),
    ("POST", "/api/v1/files/{file_id}/hold"): Operation(
        "files",
        "Have a file served to nobody: here at once, on each node with its next heartbeat",
        {200: FileView},
        _HOLD,
        body=HoldRequest,
        body_required=False,
    ),
    ("POST", "/api/v1/files/{file_id}/release"): Operation(
        "files",
        "Have a file that is held served again",
        {200: FileView},
        _HOLD,
        body=HoldRequest,
        body_required=False,
    ),
    ("GET", "/api/v1/files/{file_id}/url"): Operation(
        "files",
        "To a copy that can be reached",
        {
            200: Answer("For who accepts JSON by its name.", FileUrl, headers=_VARY),
            302: Answer("For everybody else.", FileUrl, headers={**_VARY, **_LEADS_ON}),
        },
        (
            *("not-found", "file-deleted", "file-expired", "being-checked", "infected"),
            *("file-unavailable", "issuer-key-missing"),
        ),
        security=(ANYONE, API_KEY),
        parameters=query_parameters(UrlQuery),
    ),
    **{
        ("GET", path): Operation(
            "files",
            "A file, wherever it is",
            {
                302: Answer(
                    "To a copy that can be reached. With Surrogate-Key (the file's id and its "
                    "namespace) once its receipt is here.",
                    media_type=falcon.MEDIA_TEXT,
                    schema={"type": "string"},
                    headers=_LEADS_ON,
                )
            },
            (
                *_TOKENS,
                *(
                    "token-missing",
                    "token-revoked",
                    "right-missing",
                    "not-found",
                    "file-deleted",
                    "file-expired",
                ),
                *("being-checked", "infected", "file-unavailable", "issuer-key-missing"),
            ),
            security=(ANYONE, API_KEY, DOWNLOAD_TOKEN),
            parameters=(_AVOID, _DOWNLOAD),
        )
        for path in ("/f/{file_id}", "/f/{file_id}/{name}")
    },
    ("GET", "/api/v1/moves"): Operation("moves", "Every move, newest first", {200: MoveViews}),
    ("POST", "/api/v1/moves"): Operation(
        "moves",
        "Move files from pool to pool, or level the nodes; with `dry_run` only say what would be",
        {201: MoveView, 200: MovePlan},
        (
            *("pool-unknown", "move-onto-itself", "move-conflict", "move-impossible"),
            *_BODY,
        ),
        body=MoveRequest,
    ),
    ("GET", "/api/v1/moves/{move_id}"): Operation(
        "moves", "One move, its progress and what it couldn't move", {200: MoveView}, _MOVE
    ),
    ("POST", "/api/v1/moves/{move_id}/pause"): Operation(
        "moves",
        "Order no more copies; those under way end",
        {200: MoveView},
        (*_MOVE, "move-state"),
    ),
    ("POST", "/api/v1/moves/{move_id}/resume"): Operation(
        "moves", "Go on", {200: MoveView}, (*_MOVE, "move-state")
    ),
    ("POST", "/api/v1/moves/{move_id}/cancel"): Operation(
        "moves",
        "End it: what is moved stays moved",
        {200: MoveView},
        (*_MOVE, "move-state"),
    ),
    ("GET", "/api/v1/usage"): Operation(
        "usage",
        "What owners have, or apps, and may have: those with the most bytes first",
        {200: UsageViews},
        parameters=query_parameters(UsageQuery),
    ),
    **{
        (method, path): Operation(
            "usage",
            f"{what} {whose}",
            {200: QuotaInForce},
            problems,
            body=QuotaWish if method == "PUT" else None,
        )
        for path, whose in (
            ("/api/v1/quotas/owners/{owner}", "an owner may have, in each app"),
            ("/api/v1/quotas/apps/{app_id}", "all owners of an app may have together"),
        )
        for method, what, problems in (
            ("GET", "What", ()),
            ("PUT", "Say what", _BODY),
            ("DELETE", "As the cluster file has it again: what", ()),
        )
    },
    ("GET", "/health/live"): Operation(
        "probes", "Does the process answer?", {204: None}, security=(ANYONE,)
    ),
    ("GET", "/health/ready"): Operation(
        "probes",
        "Would a session be opened?",
        {200: Readiness, 503: Readiness},
        security=(ANYONE,),
    ),
    ("GET", "/metrics"): Operation(
        "probes",
        "Numbers for Prometheus",
        {200: Answer("OK", media_type=CONTENT_TYPE_PLAIN_0_0_4, schema={}, headers=_CACHE)},
        security=(ANYONE,),
    ),
    ("GET", "/openapi.json"): Operation(
        "probes",
        "This document",
        {
            200: Answer("OK", schema={}, headers={**_CACHE, "ETag": "Changes with the document."}),
            304: Answer("It is as it was."),
        },
        security=(ANYONE,),
    ),
}

_IN_PATHS = {
    "node_id": Parameter("path", "node_id", {"type": "string", "pattern": NODE_ID_PATTERN}),
    "app_id": Parameter("path", "app_id", {"type": "string", "pattern": APP_ID_PATTERN}),
    "owner": Parameter("path", "owner", {"type": "string", "minLength": 1, "maxLength": 128}),
    "pool_id": Parameter("path", "pool_id", {"type": "string", "pattern": NODE_ID_PATTERN}),
}


def _completed(path: str, operation: Operation[Slug]) -> Operation[Slug]:
    """With what holds for every answer that is a model, and for every path with parameters."""
    answers = {
        status: answer
        if answer.model is None
        else replace(answer, headers={**_CACHE, **answer.headers})
        for status, answer in operation.full_answers().items()
    }
    if "{" not in path:
        return replace(operation, answers=answers)
    return replace(
        operation,
        answers=answers,
        # Nothing has control characters in its name (`control.api.requests.conventions`).
        problems=(*operation.problems, "not-found"),
        parameters=(*_parameters_of(path), *operation.parameters),
    )


def _parameters_of(path: str) -> Iterator[Parameter]:
    """Those of a path whose form is known."""
    return (each for name, each in _IN_PATHS.items() if f"{{{name}}}" in path)


_COMPLETED = {route: _completed(route[1], each) for route, each in _OPERATIONS.items()}

OPERATIONS: Operations[Slug] = {
    **_COMPLETED,
    **{("HEAD", path): each for (method, path), each in _COMPLETED.items() if method == "GET"},
}
