"""What a node tells of its files and asks about them, in words of its own, signed."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

from control.nodes.inventories import Inventories
from portside.inventory import EMPTY, toggled
from portside.names import dated_path, named_path
from portside.tokens import SigningKey, mint_upload
from portside.wire.inventory import (
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)
from tests.support.control.core import Core
from tests.support.minting import upload_claims


def held(**changed: Any) -> HeldFile:
    """A file as its node's attributes have it."""
    file_id = changed.get("file_id", secrets.token_hex(16))
    committed_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    name, owner = changed.get("name", "Überschrift.iso"), changed.get("owner", "alice")
    return HeldFile.model_validate(
        {
            "file_id": file_id,
            "jti": secrets.token_hex(16),
            "namespace": "files",
            "owner": owner,
            "app": "shop",
            "name": name,
            "path": dated_path("files", name, owner, file_id, committed_at),
            "size": 1000,
            "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
            "content_type": "application/x-iso9660-image",
            "committed_at": committed_at,
            **changed,
        }
    )


def with_proof(
    core: Core, node_id: str, file: HeldFile, key: SigningKey | None = None, **claims: Any
) -> HeldFile:
    """A file with the token that it was uploaded to this node with; with one that it has already,
    or at a place that no token gives, as it is."""
    named = file.path == named_path(file.namespace, file.name)
    dated = dated_path(file.namespace, file.name, file.owner, file.file_id, file.committed_at)
    if file.proof is not None or not (named or file.path == dated):
        return file
    signer = key or core.key
    said = {
        "sub": file.owner,
        "jti": file.jti,
        "file_id": file.file_id,
        "namespace": file.namespace,
        "name": file.name,
        "layout": "named" if named else "dated",
        "size": file.size,
        "app": file.app,
        **claims,
    }
    token = mint_upload(signer, upload_claims(signer.owner, node_id, said))
    return file.model_copy(update={"proof": token})


def tells(
    core: Core,
    node_id: str,
    *files: HeldFile,
    ticket: str | None = None,
    is_proved: bool = True,
) -> HeldFilesAnswer:
    """What a node says that it has, with its last ticket unless another is given, and with what
    the files were uploaded with unless they have something else."""
    if is_proved:
        files = tuple(with_proof(core, node_id, each) for each in files)
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
