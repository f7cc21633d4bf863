"""Deletions that count for the whole cluster: those that an issuer's token asked for.

Control plane and nodes keep the same proof (`portside.orders.deletions`). The control plane mints
one with each deletion that it orders, so that a node can show it to a catalogue that has forgotten
it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from control.catalogue.inventory import UNKNOWN_OWNER
from control.cluster import issuer
from control.db.models import File, UploadSession
from control.files import scans
from control.nodes.copy_orders import copy_order
from control.settings import Settings
from portside.orders.deletions import mint_order, verify_order
from portside.tokens import SigningKey, TokenRefused
from portside.wire.heartbeat import GoneFile, Lease
from portside.wire.inventory import HeldFile
from portside.wire.keys import Keyset

_log = structlog.get_logger()


class DeletionOrders:
    """Judges and mints them. Thread-safe."""

    def __init__(self, settings: Settings, key: SigningKey | None) -> None:
        self._settings = settings
        self._key = key
        self._issuers = issuer.trusted(settings, key)

    def ordered(self, session: Session, lease: Lease, node_id: str, now: datetime) -> Lease:
        """A lease, and what proves a copy to its target, or a deletion for good later."""
        if self._key is None:
            return lease
        if lease.kind == "replicate":
            file = session.get_one(File, lease.file_id)
            scan = scans.is_scanners(session, self._settings, file)
            return lease.model_copy(
                update={"order": copy_order(self._key, lease, node_id, file, now, scan=scan)}
            )
        if not lease.tombstone:
            return lease
        return lease.model_copy(
            update={"order": mint_order(self._key, node_id, lease.file_id, now)}
        )

    def issuers(self, nodes: Collection[str]) -> Keyset:
        """The keys whose word counts. A keyset may have keys of `nodes` beside the issuers': a
        node's word is what isn't enough."""
        return self._issuers().without(nodes)

    def prove(
        self,
        node_id: str,
        told: GoneFile | HeldFile,
        file: File | UploadSession,
        nodes: Collection[str],
    ) -> bool:
        """Whether what `node_id` tells was asked for by an issuer. Keys of `nodes` are none."""
        if told.order is None or told.deleted_at is None:
            return False
        issuers = self.issuers(nodes)
        owner = None if file.owner == UNKNOWN_OWNER else file.owner
        committed_at = file.committed_at if isinstance(file, File) else None
        try:
            verify_order(
                told.order,
                issuers,
                node_id,
                file.file_id,
                file.namespace,
                owner,
                committed_at,
                told.deleted_at,
            )
        except TokenRefused as refused:
            _log.error(
                "deletion not believed", node=node_id, file_id=file.file_id, why=str(refused)
            )
            return False
        return True
