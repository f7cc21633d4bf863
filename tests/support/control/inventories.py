"""What a node tells of its files and asks about them, in words of its own, signed."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import PurePosixPath
from typing import Any

from control.nodes.inventories import Inventories
from portside.inventory import EMPTY, toggled
from portside.wire.inventory import (
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)
from tests.support.control.core import Core


def held(**changed: Any) -> HeldFile:
    """A file as its node's attributes have it."""
    file_id = secrets.token_hex(16)
    return HeldFile.model_validate(
        {
            "file_id": file_id,
            "jti": secrets.token_hex(16),
            "namespace": "files",
            "owner": "alice",
            "app": "shop",
            "name": "Überschrift.iso",
            "path": PurePosixPath("files/2026/01/02/03", f"a_{file_id[:8]}.iso"),
            "size": 1000,
            "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
            "content_type": "application/x-iso9660-image",
            "committed_at": "2026-01-02T03:04:05Z",
            **changed,
        }
    )


def tells(core: Core, node_id: str, *files: HeldFile, ticket: str | None = None) -> HeldFilesAnswer:
    """What a node says that it has, with its last ticket unless another is given."""
    message = HeldFiles(
        node_id=node_id, ticket=core.ticket(node_id) if ticket is None else ticket, files=files
    )
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return inventories(core).take_over(node_id, token, body, core.clock.now)


def asks(
    core: Core,
    node_id: str,
    *file_ids: str,
    after: str | None = None,
    last: str | None = None,
    with_ids: bool = True,
) -> InventoryAnswer:
    """What is answered to a page of a node's files, sent with their ids or by its digest alone."""
    message = InventoryPage(
        node_id=node_id,
        after=after,
        last=last,
        digest=toggled(EMPTY, file_ids),
        file_ids=file_ids if with_ids else None,
    )
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return inventories(core).compare(node_id, token, body, core.clock.now)


def inventories(core: Core) -> Inventories:
    """What listens to nodes."""
    return Inventories(core.settings, core.database, core.snapshots, core.runs, core.orders)
