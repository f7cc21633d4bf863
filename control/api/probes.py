"""`/health/ready`: would the control plane open a session?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import falcon

from control.api import json_body
from control.cluster.snapshot import Snapshots
from control.db import migrations, replica
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated
from control.settings import Settings
from portside.tokens import SigningKey
from portside.wire.status import Readiness


class Ready:
    """Would a session be opened? 200, or 503 with the reasons."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        snapshots: Snapshots,
        key: SigningKey | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._replica_socket = settings.replica_socket
        self._clock = clock
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
        if self._replica_socket is not None:
            trouble = replica.state(self._replica_socket, self._clock()).trouble
            if trouble is not None:
                warnings.append(trouble)
        json_body.answer(
            response,
            Readiness(ready=not reasons, reasons=tuple(reasons), warnings=tuple(warnings)),
            503 if reasons else 200,
        )
