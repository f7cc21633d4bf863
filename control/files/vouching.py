"""Files that are known by one node's word alone, and what bears that word out.

What comes without a session of ours (another issuer's upload, a file older than this catalogue) is
told by nodes, and a node may be a thief's. So its word counts in full once something else says the
same: what an issuer signed and the node has kept with the file (`portside.orders.copies`), another
node, or an operator. Until then the file is listed, served and deleted as every other, by and on
the node that tells of it; but it is copied nowhere, counts for no quota, keeps no name from
anybody, and gives way to what is borne out. Its `factor` is 1 meanwhile: it isn't among those that
lack copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from control.catalogue import copies, inventory, usage
from control.catalogue.inventory import UNKNOWN_OWNER
from control.db.deferred_log import log_on_commit
from control.db.models import File
from control.files import lifetimes
from control.settings import Settings
from portside.wire.claims import ReceiptClaims
from portside.wire.inventory import HeldFile

AT_ONCE = 1000
"""Files that one statement names."""


def heard(
    session: Session,
    settings: Settings,
    file: File,
    told: HeldFile | ReceiptClaims,
    node_id: str,
    now: datetime,
    *,
    is_proved: bool,
) -> None:
    """A node tells of a file that another's word, or its own, is all that is known of.

    The file's row is locked. What differs and isn't borne out changes nothing: the caller sees it.
    """
    if file.vouched_by is None:
        return
    if is_alike(file, told):
        # A receipt doesn't say whose the file is.
        if is_proved or (node_id != file.vouched_by and _says_all(file, told)):
            borne_out(session, settings, file, now)
    elif is_proved or (file.state in ("committed", "lost") and not _is_there(session, file)):
        _replace(session, settings, file, told, now)
        file.vouched_by = node_id
        if is_proved:
            borne_out(session, settings, file, now)


def borne_out(session: Session, settings: Settings, file: File, now: datetime) -> None:
    """It is an ordinary file from here on. Its row is locked."""
    session.flush()
    inventory.all_believed(session, (file.file_id,))
    file.vouched_by, file.factor, file.changed_at = None, settings.factor, now
    if usage.counts(file):
        usage.changed(session, file.app_id, file.owner, usage.of_file(file.size))
    session.flush()


def all_borne_out(
    session: Session, settings: Settings, file_ids: Sequence[str], now: datetime
) -> None:
    """As `borne_out` of many, whose rows are locked."""
    if file_ids:
        inventory.all_believed(session, file_ids)
        counting = (
            select(File.app_id, File.owner, File.size)
            .where(File.file_id.in_(file_ids), File.vouched_by.is_not(None))
            .where(File.state.in_(usage.COUNTED))
        )
        for app_id, owner, size in session.execute(counting):
            usage.changed(session, app_id, owner, usage.of_file(size))
        session.execute(
            update(File)
            .where(File.file_id.in_(file_ids))
            .values(vouched_by=None, factor=settings.factor, changed_at=now)
            .execution_options(synchronize_session=False)
        )


def believe(session: Session, settings: Settings, node_id: str, now: datetime) -> int:
    """An operator takes a node's word for all that it alone has told; returns how many files."""
    theirs = select(File.file_id).where(File.vouched_by == node_id).order_by(File.file_id)
    file_ids = session.scalars(theirs.with_for_update()).all()
    for start in range(0, len(file_ids), AT_ONCE):
        all_borne_out(session, settings, file_ids[start : start + AT_ONCE], now)
    return len(file_ids)


def is_alike(file: File, told: HeldFile | ReceiptClaims) -> bool:
    """Whether this is the same file, as far as both say what it is."""
    content = (file.session_id, file.path, file.size, file.sha256)
    if content != (told.jti, str(told.path), told.size, told.sha256):
        return False
    if isinstance(told, ReceiptClaims) or not inventory.is_described(file):
        return True
    return (file.owner, file.app_id, file.name) == (told.owner, told.app, told.name)


def _says_all(file: File, told: HeldFile | ReceiptClaims) -> bool:
    return isinstance(told, HeldFile) and inventory.is_described(file)


def _is_there(session: Session, file: File) -> bool:
    """Whether who vouches for it has it still."""
    copy = copies.copies_of(session, file.file_id).get(file.vouched_by or "")
    return copy is not None and copy.state in ("present", "deleting")


def _replace(
    session: Session,
    settings: Settings,
    file: File,
    told: HeldFile | ReceiptClaims,
    now: datetime,
) -> None:
    """What was told before was another file, or nobody's word: it makes room for this one."""
    log_on_commit(
        session,
        "file told otherwise",
        level="warning",
        file_id=file.file_id,
        vouched_by=file.vouched_by,
    )
    for node_id, copy in copies.copies_of(session, file.file_id).items():
        # Before the size changes: pools have counted the other one.
        if copy.state == "copying":
            copies.left(session, file, node_id, now)
        elif copy.state in ("present", "deleting"):
            copies.lost(session, file, node_id, now)
    if isinstance(told, HeldFile):
        file.owner, file.app_id = told.owner, told.app
        file.name, file.content_type = told.name, told.content_type
    else:
        file.owner, file.app_id, file.content_type = UNKNOWN_OWNER, None, None
        file.name = told.path.name
    file.session_id, file.namespace = told.jti, told.path.parts[0]
    file.path, file.size, file.sha256 = str(told.path), told.size, told.sha256
    file.committed_at, file.state = told.committed_at, "committed"
    file.factor, file.held, file.hold = 1, told.held or file.held, None
    file.expires_at = lifetimes.moment_of(told.expires_at)
    session.flush()
