"""`/health/ready`: would the control plane open a session?"""

from __future__ import annotations

import falcon

from control.api import json_body
from control.cluster.snapshot import Snapshots
from control.db import migrations
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated
from portside.tokens import SigningKey
from portside.wire.status import Readiness


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
