"""`/api/v1/system/...`: how full the node is, and the key its receipts are checked with."""

from __future__ import annotations

from importlib.metadata import version

import falcon

from agent.cluster.roster import Rosters
from agent.host import filesystem
from agent.settings import Settings
from agent.telemetry.health import NodeHealth
from agent.telemetry.metrics import Metrics
from agent.telemetry.progress import ProgressLog
from agent.uploads.admission import Admission
from portside.tokens import SigningKey
from portside.wire.keys import Keyset
from portside.wire.status import FilesystemStatus, PublicStatus, UploadStatus

JWK_SET = "application/jwk-set+json"
"""RFC 7517, section 8.5.2."""


READS_METRICS = "X-Reads-Metrics"
"""nginx says by it whether who asks is among `monitoring.allow`: `1`, or `0` for all others."""


class Status:
    """The numbers that admission decides by, asked of admission itself."""

    def __init__(
        self,
        settings: Settings,
        health: NodeHealth,
        admission: Admission,
        metrics: Metrics,
        progress: ProgressLog,
    ) -> None:
        self._settings = settings
        self._health = health
        self._admission = admission
        self._metrics = metrics
        self._progress = progress
        self._version = version("portside")

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Slots; for operators memory, disk, health and what became of uploads too."""
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "no-store")
        # Whoever reaches the agent's own socket is on this machine, as its worker is.
        for_operators = request.get_header(READS_METRICS, default="1") == "1"
        status = self._of_everything() if for_operators else self._of_slots()
        response.text = status.model_dump_json()

    def _of_slots(self) -> PublicStatus:
        return PublicStatus(
            node_id=self._settings.node_id,
            accepting=not self._health.reasons(),
            slots=self._admission.slots(),
        )

    def _of_everything(self) -> UploadStatus:
        committed, failures = self._metrics.counts()
        reasons = self._health.reasons()
        found = filesystem.of(self._settings.root)
        return UploadStatus(
            node_id=self._settings.node_id,
            version=self._version,
            accepting=not reasons,
            reasons=reasons,
            shortages=self._admission.shortages(),
            slots=self._admission.slots(),
            bandwidth=self._admission.bandwidth(),
            memory=self._admission.memory(),
            disk=self._admission.disk(),
            filesystem=FilesystemStatus(kind=found.kind, lacks=found.lacks),
            committed=committed,
            failures=failures,
            recent_failures=self._metrics.recent_failures.newest_first(),
            under_way=tuple(
                dict.fromkeys(
                    (*self._progress.tokens_under_way(), *self._admission.tokens_elsewhere())
                )
            ),
        )


class Keys:
    """The node's public keys as a JWK set (RFC 7517), the one that signs now first.

    While a key is being replaced the next one is among them, so that whoever keeps what is told
    here knows it beforehand; receipts of the ones before count for good.
    """

    def __init__(self, node_id: str, key: SigningKey, rosters: Rosters) -> None:
        self._node_id = node_id
        self._key = key
        self._rosters = rosters

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """What a receipt's signature is checked with."""
        response.content_type = JWK_SET
        signs, own = self._key.public(), self._rosters.current().find(self._node_id)
        others = () if own is None else own.keyset.keys
        keys = (signs, *(each for each in others if each.kid != signs.kid))
        response.text = Keyset(keys=keys).model_dump_json(exclude_none=True)
