"""What nodes' virus scanners found: each speaks for its own copy, and only of what it has.

A node's word that a copy is clean leads people to that copy and opens no other one: a node that was
stolen gains nothing by it. Its word that a file is infected closes every copy, until a person says
otherwise: no byte is lost by that, and `hold` names the node. See docs/design/security.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from control.catalogue import copies, holds
from control.db.deferred_log import log_on_commit
from control.db.models import Copy, File
from control.files import receipts
from control.settings import Settings
from portside.wire.heartbeat import ScanVerdict


def hear(
    session: Session,
    settings: Settings,
    node_id: str,
    verdicts: Sequence[ScanVerdict],
    now: datetime,
) -> tuple[str, ...]:
    """Take in what a node tells; returns the files of which it need not tell again.

    In a transaction of the caller's, which has locked the node's row.
    """
    heard = []
    # In one order, whichever node tells: two that have the same files don't wait for each other.
    for each in sorted(verdicts, key=lambda verdict: verdict.file_id):
        file = copies.lock_file(session, each.file_id)
        copy = None if file is None else copies.copies_of(session, each.file_id).get(node_id)
        if file is None or copy is None or _comes_too_early(settings, file, copy):
            continue
        heard.append(each.file_id)
        if _counts(session, file, copy, each):
            # By our clock: the node's may be off.
            note = each.note.model_copy(update={"at": now})
            holds.judged(session, file, copy, note, held=each.held)
            log_on_commit(
                session, "file scanned", file_id=file.file_id, node=node_id, scan=each.note.scan
            )
    return tuple(heard)


def is_scanners(session: Session, settings: Settings, file: File) -> bool:
    """Whether nobody but scanners keeps a file back: a new copy is looked at where it arrives."""
    if not file.held or file.namespace not in settings.scanned:
        return False
    note = holds.note_of(file)
    if note is not None:
        return note.scan is not None
    upload = receipts.session_of(session, file.file_id)
    return not file.hold_version and (upload is None or not upload.hold)


def _comes_too_early(settings: Settings, file: File, copy: Copy) -> bool:
    """Its receipt, or this control plane's new settings, are still on their way."""
    if file.state in ("deleting", "deleted"):
        return False
    return file.namespace not in settings.scanned or copy.state in ("copying", "lost", "gone")


def _counts(session: Session, file: File, copy: Copy, verdict: ScanVerdict) -> bool:
    """Whether it is of this very content, and nobody but the scanner is to release it."""
    if copy.state != "present" or verdict.sha256 != file.sha256:
        return False
    upload = receipts.session_of(session, file.file_id)
    return upload is None or not upload.hold
