"""`/health/ready`: would the control plane open a session?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import falcon
from sqlalchemy import select

from control.api.requests import json_body
from control.cluster import own_clock
from control.cluster.snapshot import Snapshot, Snapshots
from control.db import backups, migrations, replica
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated
from control.db.models import ClusterState
from control.settings import Settings
from portside.quantities import format_duration
from portside.tokens import SigningKey
from portside.web.resources import answers_head
from portside.wire.status import Readiness

ROUNDS_MISSED = 60.0
"""Seconds without a worker's round after which that is said."""


_BACKUP_LATE = 3 * 3600.0
"""Seconds: one is made each hour, and one that a restart swallowed is no reason to worry."""


@answers_head
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
        self._backups = settings.backups
        self._clock = clock
        self._database = database
        self._snapshots = snapshots
        self._key = key
        self._clock = clock

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """`{"ready": true, "reasons": [], "warnings": []}`."""
        reasons, warnings = [], []
        try:
            migrations.check(self._database)
            snapshot = self._snapshots.current()
            warnings += self._rounds()
        except SchemaOutdated as outdated:
            reasons.append(f"schema-outdated: {outdated}")
        except DatabaseUnavailable:
            reasons.append("database-unavailable: the log says why")
        else:
            if not any(node.healthy for node in snapshot.nodes.values()):
                warnings.append("no-node: no node takes uploads now")
            warnings += _clock(snapshot)
        if self._key is None:
            warnings.append("issuer-key-missing: no session can be opened")
        if self._replica_socket is not None:
            trouble = replica.state(self._replica_socket, self._clock()).trouble
            if trouble is not None:
                warnings.append(trouble)
        warnings += self._old_copies()
        json_body.answer(
            response,
            Readiness(ready=not reasons, reasons=tuple(reasons), warnings=tuple(warnings)),
            503 if reasons else 200,
        )

    def _old_copies(self) -> list[str]:
        age = backups.age(self._backups, self._clock())
        if age is None or age <= _BACKUP_LATE:
            return []
        return [
            f"backup-old: the newest copy of the database is {format_duration(age)} old: "
            "`journalctl -u portside-control-backup` says why"
        ]

    def _rounds(self) -> list[str]:
        """Whether the worker goes its rounds: without them nothing is repaired, and nobody is
        missed. Sessions are opened all the same."""
        last = self._database.read(
            lambda session: session.scalars(select(ClusterState.rounds_at)).one_or_none()
        )
        if last is None:
            return ["rounds-missed: the worker hasn't gone a round yet: `portside-control-worker`"]
        since = abs((self._clock() - last).total_seconds())
        if since <= ROUNDS_MISSED:
            return []
        return [
            f"rounds-missed: the worker went its last round {format_duration(since)} "
            "from now: see whether `portside-control-worker` runs"
        ]


def _clock(snapshot: Snapshot) -> list[str]:
    skews = [
        node.signs.clock_skew
        for node in snapshot.nodes.values()
        if node.state not in ("down", "retired") and node.signs.clock_skew is not None
    ]
    error = own_clock.error(skews)
    if error is None:
        return []
    side = "ahead of" if error > 0 else "behind"
    return [
        f"clock: this clock is {format_duration(abs(error))} {side} most nodes': see whether a "
        "time service runs here (`timedatectl`)"
    ]
