"""Work for nodes as the control plane's workers order it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from control.replication import leases
from portside.tokens import SigningKey, mint_access
from portside.wire.heartbeat import GoneFile
from portside.wire.inventory import HeldFile
from tests.support.control.core import Core
from tests.support.minting import access_claims

_Told = TypeVar("_Told", GoneFile, HeldFile)


def orders_copy(core: Core, file_id: str, source: str, target: str) -> str | None:
    """Order a push; returns its lease, None when it isn't ordered."""
    return core.on_file(
        file_id,
        lambda session, file: leases.order_copy(
            session, file, source, target, target, "repair", core.clock.now
        ),
    )


def orders_deletion(core: Core, file_id: str, node_id: str, tombstone: bool = False) -> str | None:
    """Order a copy to be deleted; returns its lease, None when it isn't ordered."""
    return core.on_file(
        file_id,
        lambda session, file: leases.order_deletion(
            session, file, node_id, "drain", core.clock.now, tombstone=tombstone
        ),
    )


def ordered(
    core: Core,
    node_id: str,
    told: _Told,
    key: SigningKey | None = None,
    deleted_at: datetime | None = None,
    **claims: Any,
) -> _Told:
    """A deletion with the token that asked for it, valid for 15 minutes unless `claims` differ."""
    signer = key or core.key
    moment = int(core.clock.now.timestamp())
    times = {"iat": moment, "nbf": moment, "exp": moment + 900}
    said = access_claims(signer.owner, node_id, {**times, "rights": ("delete",), **claims})
    at = deleted_at or core.clock.now
    return told.model_copy(update={"order": mint_access(signer, said), "deleted_at": at})
