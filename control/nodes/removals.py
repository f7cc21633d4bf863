"""What a node says of its own files: deleted there by an app, or found damaged.

It speaks for copies that it has or had by the catalogue, and for nothing else. What is heard twice
changes nothing the second time: a damaged copy that is being made again is none that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.deferred_log import log_on_commit
from control.db.models import File, UploadSession
from control.files import receipts, service
from control.replication import leases
from portside.wire.heartbeat import GoneFile

IsProved = Callable[[File | UploadSession], bool]
"""Whether an issuer's token asked for a file's deletion."""


def hear(
    session: Session, node_id: str, gone: GoneFile, now: datetime, is_proved: IsProved
) -> None:
    """Take over what `node_id` says of one file, whose row is locked or doesn't exist.

    Deleted there as an issuer ordered, it is deleted everywhere, also where its copies are only on
    their way. Without an order the node has lost its own copy, and no other goes. Damaged there,
    that copy is lost until a push repairs it, and nothing is copied from it.
    """
    file = copies.lock_file(session, gone.file_id)
    if file is None and gone.why == "deleted":
        upload = receipts.awaited(session, gone.file_id)
        if (
            upload is not None
            and node_id in (upload.node_id, *upload.replicas)
            and is_proved(upload)
        ):
            receipts.call_off(session, upload, now)
            log_on_commit(
                session, "deleted before its receipt came", node=node_id, file_id=gone.file_id
            )
            return
        file = copies.lock_file(session, gone.file_id)
    copy = None if file is None else copies.copies_of(session, gone.file_id).get(node_id)
    if file is None or copy is None or copy.state == "gone":
        log_on_commit(
            session, "not a copy of this node's", node=node_id, file_id=gone.file_id, why=gone.why
        )
        return
    before = copy.state
    if gone.why == "deleted":
        copies.left(session, file, node_id, now)
        if file.state in ("deleting", "deleted") or is_proved(file):
            service.delete_everywhere(session, file, now)
        else:
            leases.call_off(session, file, now, source=node_id)
            log_on_commit(session, "deleted without an order", node=node_id, file_id=gone.file_id)
    elif copy.state in ("present", "lost"):
        copies.lost(session, file, node_id, now)
        leases.call_off(session, file, now, source=node_id)
    log_on_commit(
        session, "copy is gone", node=node_id, file_id=gone.file_id, why=gone.why, was=before
    )
