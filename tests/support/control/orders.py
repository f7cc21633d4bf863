"""Work for nodes as the control plane's workers order it."""

from __future__ import annotations

from control.replication import leases
from tests.support.control.core import Core


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
