"""`/health/...`, `/metrics` and `/openapi.json`."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import falcon
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from control.api import json_body
from control.cluster.snapshot import Snapshots
from control.db import migrations
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated
from portside.tokens import SigningKey
from portside.wire.status import Readiness


class Live:
    """The process answers: that is all it says."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """204."""
        response.status = falcon.HTTP_204


class Ready:
    """Would a session be opened? 200, or 503 with the reasons."""

    def __init__(self, database: Database, snapshots: Snapshots, key: SigningKey | None) -> None:
        self._database = database
        self._snapshots = snapshots
        self._key = key

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """`{"ready": true, "reasons": [], "warnings": []}`."""
        reasons, warnings = [], []
        try:
            migrations.check(self._database)
            snapshot = self._snapshots.current()
        except SchemaOutdated as outdated:
            reasons.append(f"schema-outdated: {outdated}")
        except DatabaseUnavailable:
            reasons.append("database-unavailable: the log says why")
        else:
            if not any(node.healthy for node in snapshot.nodes.values()):
                warnings.append("no-node: no node takes uploads now")
        if self._key is None:
            warnings.append("issuer-key-missing: no session can be opened")
        json_body.answer(
            response,
            Readiness(ready=not reasons, reasons=tuple(reasons), warnings=tuple(warnings)),
            503 if reasons else 200,
        )


class MetricsPage:
    """Every instrument and every reading, in Prometheus's text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The numbers as of now."""
        response.content_type = CONTENT_TYPE_PLAIN_0_0_4
        response.set_header("Cache-Control", "no-store")
        response.data = generate_latest(self._registry)


class Description:
    """`/openapi.json`: one document for as long as the process lives."""

    def __init__(self) -> None:
        self._text = ""
        self._etag = ""

    def publish(self, document: dict[str, Any]) -> None:
        """Take the document, once every route is there, this one's as well."""
        self._text = json.dumps(document, separators=(",", ":"))
        self._etag = hashlib.sha256(self._text.encode()).hexdigest()[:32]

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The document, or 304."""
        response.etag = self._etag
        response.set_header("Cache-Control", "public, max-age=300")
        if request.if_none_match and any(
            each == "*" or each == self._etag for each in request.if_none_match
        ):
            response.status = falcon.HTTP_304
            return
        response.content_type = falcon.MEDIA_JSON
        response.text = self._text
