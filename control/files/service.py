"""Files as apps see them: found, followed until they are safe, deleted everywhere.

An app sees the files of its own sessions, `admin` every one. Pages go from the newest file to the
oldest; a cursor names the last file of a page, so that nothing is listed twice or left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Literal

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from control.catalogue import copies, holds, usage
from control.cluster.reach import Reach
from control.cluster.snapshot import Snapshot
from control.db.deferred_log import log_on_commit
from control.db.models import Copy, File, HoldOrder, Revocation, UploadSession
from control.files import receipts
from control.problems import ProblemError
from control.replication import leases
from portside import base64url
from portside.names import NameRefused, sanitise
from portside.web.redirects import NO_STORE
from portside.wire import paths
from portside.wire.control import CopyView, FileView, FileViews
from portside.wire.files import FileQuery, HoldNote

_CURSOR = re.compile(r"(\d{1,18})\.([0-9a-f]{32})", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def find(
    session: Session, snapshot: Snapshot, query: FileQuery, reach: Reach, now: datetime
) -> FileViews:
    """A page of the committed files that fit, of those within reach. Raises ProblemError."""
    rows = session.scalars(_query(query, reach)).all()
    page = rows[: query.limit]
    ids = [file.file_id for file in page]
    copies: dict[str, list[Copy]] = {}
    for copy in session.scalars(select(Copy).where(Copy.file_id.in_(ids))):
        copies.setdefault(copy.file_id, []).append(copy)
    untold = _untold(session, ids)
    return FileViews(
        files=tuple(
            _view(snapshot, file, copies.get(file.file_id, ()), untold.get(file.file_id, ()), now)
            for file in page
        ),
        next=_cursor(page[-1]) if len(rows) > len(page) else None,
    )


def _query(query: FileQuery, reach: Reach) -> Select[File]:
    found = select(File).where(File.state.in_(("committed", "lost")))
    if reach.app_id is not None:
        found = found.where(File.app_id == reach.app_id)
    if reach.namespaces is not None:
        found = found.where(File.namespace.in_(sorted(reach.namespaces)))
    if query.namespace is not None:
        found = found.where(File.namespace == query.namespace)
    if query.owner is not None:
        # Sessions have it composed, tokens of other issuers as those wrote it.
        alike = {query.owner, unicodedata.normalize("NFC", query.owner.strip())}
        found = found.where(File.owner.in_(sorted(alike)))
    if query.name is not None:
        found = found.where(File.name.icontains(_as_in_names(query.name), autoescape=True))
    if query.content_type is not None and query.content_type.endswith("/*"):
        found = found.where(File.content_type.istartswith(query.content_type[:-1], autoescape=True))
    elif query.content_type is not None:
        found = found.where(
            File.content_type.in_(sorted({query.content_type, query.content_type.lower()}))
        )
    if query.committed_after is not None:
        found = found.where(File.committed_at > query.committed_after)
    if query.committed_before is not None:
        found = found.where(File.committed_at < query.committed_before)
    if query.cursor is not None:
        moment, file_id = _position(query.cursor)
        found = found.where(
            or_(
                File.committed_at < moment,
                and_(File.committed_at == moment, File.file_id < file_id),
            )
        )
    # One more tells whether there is a next page.
    return found.order_by(File.committed_at.desc(), File.file_id.desc()).limit(query.limit + 1)


def _as_in_names(part: str) -> str:
    """Part of a name as people know it, as it is in the names of files: composed, without spaces.

    Between two letters, so that nothing of it is at the name's beginning or end.
    """
    try:
        return sanitise(f"x{part}x")[1:-1]
    except NameRefused:
        # Nothing has such a name.
        return part


def _cursor(file: File) -> str:
    microseconds = (file.committed_at - _EPOCH) // timedelta(microseconds=1)
    text = f"{microseconds}.{file.file_id}"
    return base64url.encode(text.encode())


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        text = base64url.decode(cursor).decode()
    except ValueError:
        text = ""
    match = _CURSOR.fullmatch(text)
    try:
        if match is not None:
            return _EPOCH + timedelta(microseconds=int(match[1])), match[2]
    except OverflowError:
        # Beyond the last year of a calendar.
        pass
    raise ProblemError("malformed-request", "cursor: give the 'next' of the page before as it was")


def look_up(
    session: Session, snapshot: Snapshot, file_id: str, reach: Reach, now: datetime
) -> FileView:
    """One file, or the upload that it is to come from. Raises ProblemError."""
    file = session.get(File, file_id)
    if file is not None and reach.covers(file.app_id, file.namespace):
        return view_of(session, snapshot, file, now)
    upload = receipts.session_of(session, file_id)
    if file is None and upload is not None and reach.covers(upload.app_id, upload.namespace):
        return _upload_view(snapshot, upload, _upload_state(session, upload))
    raise unknown(file_id)


def view_of(session: Session, snapshot: Snapshot, file: File, now: datetime) -> FileView:
    """A file that the caller has at hand."""
    known = copies.copies_of(session, file.file_id).values()
    untold = _untold(session, [file.file_id]).get(file.file_id, ())
    return _view(snapshot, file, known, untold, now)


def _untold(session: Session, file_ids: Sequence[str]) -> dict[str, list[str]]:
    """By file, the nodes that are to confirm that it is held or released."""
    untold: dict[str, list[str]] = {}
    for order in session.scalars(select(HoldOrder).where(HoldOrder.file_id.in_(file_ids))):
        untold.setdefault(order.file_id, []).append(order.node_id)
    return untold


def unknown(file_id: str) -> ProblemError:
    """The one answer to an id of no file that the caller may know of."""
    return ProblemError("not-found", f"there is no file {file_id}", headers=NO_STORE)


def must_not_be_held(file: File) -> None:
    """Raise ProblemError for a file that is served to nobody."""
    note = holds.note_of(file) if file.held else None
    if note is not None and note.scan == "infected":
        raise ProblemError(
            "infected",
            "a virus scanner has found something in this file: it is served to nobody",
            headers=NO_STORE,
        )
    if file.held:
        raise being_checked()


def being_checked() -> ProblemError:
    """The one answer to who asks for a file that is held. Why it is, is not everybody's to know."""
    return ProblemError(
        "being-checked",
        "this file is being checked: it is served to nobody until it is released",
        headers=NO_STORE,
    )


def file_deleted() -> ProblemError:
    """The one answer to a file that was deleted."""
    return ProblemError("file-deleted", "this file was deleted", headers=NO_STORE)


def file_expired() -> ProblemError:
    """The one answer to a file whose time is over."""
    return ProblemError("file-expired", "this file has come to its end", headers=NO_STORE)


def must_be_alive(file: File, now: datetime) -> None:
    """Raise ProblemError for a file that was deleted or whose time is over."""
    if file.state in ("deleting", "deleted"):
        raise file_deleted()
    if file.has_ended(now):
        raise file_expired()


def _upload_state(
    session: Session, upload: UploadSession
) -> Literal["uploading", "deleted", "lost"]:
    """Of an upload that has brought no file."""
    if upload.state == "open":
        return "uploading"
    return "lost" if session.get(Revocation, upload.session_id) is None else "deleted"


def _upload_view(
    snapshot: Snapshot, upload: UploadSession, state: Literal["uploading", "deleted", "lost"]
) -> FileView:
    return FileView(
        file_id=upload.file_id,
        session_id=upload.session_id,
        state=state,
        namespace=upload.namespace,
        owner=upload.owner,
        name=upload.name,
        path=None if upload.path is None else PurePosixPath(upload.path),
        size=upload.size,
        sha256=upload.sha256,
        content_type=upload.content_type,
        committed_at=None,
        url=lasting_url_of_upload(snapshot, upload),
        held=upload.hold,
    )


def lasting_url_of_upload(snapshot: Snapshot, upload: UploadSession) -> str | None:
    """Where its file will be found."""
    return _lasting_url(snapshot, upload.file_id, upload.name)


def _lasting_url(snapshot: Snapshot, file_id: str, name: str | None) -> str | None:
    base = snapshot.roster.control_url
    return None if base is None else paths.lasting_url(base, file_id, name)


def _view(
    snapshot: Snapshot, file: File, copies: Iterable[Copy], untold: Iterable[str], now: datetime
) -> FileView:
    views = [
        CopyView(node_id=each.node_id, url=url_of(snapshot, each, file.path), state=each.state)
        for each in copies
        if each.state != "gone"
    ]
    state = file.state
    if state == "committed" and file.has_ended(now):
        shown = "expired"
    elif file.vouched_by is not None and state in ("committed", "lost"):
        shown = state
    elif state == "committed" and file.present >= file.factor:
        shown = "safe"
    elif state == "committed" and any(each.state == "copying" for each in views):
        shown = "replicating"
    else:
        shown = "deleted" if state == "deleting" else state
    return FileView.model_validate(
        {
            "file_id": file.file_id,
            "session_id": file.session_id,
            "state": shown,
            "namespace": file.namespace,
            "owner": file.owner,
            "name": file.name,
            "path": PurePosixPath(file.path),
            "size": file.size,
            "sha256": file.sha256,
            "content_type": file.content_type,
            "committed_at": file.committed_at,
            "url": _lasting_url(snapshot, file.file_id, file.name),
            "expires_at": file.expires_at,
            "copies": tuple(sorted(views, key=lambda each: each.node_id)),
            "held": file.held,
            "hold": None if file.hold is None else HoldNote.model_validate_json(file.hold),
            "hold_waits_for": tuple(sorted(untold)),
        }
    )


def url_of(snapshot: Snapshot, copy: Copy, path: str) -> str:
    """Where a copy is served from, if its node is up."""
    pool, node = snapshot.pools.get(copy.pool_id), snapshot.nodes.get(copy.node_id)
    base = pool.public_base_url if pool is not None else node.public_base_url if node else ""
    return paths.direct_url(base, path)


def set_held(
    session: Session,
    snapshot: Snapshot,
    file_id: str,
    reach: Reach,
    note: HoldNote,
    now: datetime,
    *,
    held: bool,
) -> FileView:
    """Hold a file or release it, for whoever asks from now on. Said again, nodes hear it again.

    Raises ProblemError when there is no such file within reach, or it has not come yet or was
    deleted.
    """
    file = copies.lock_file(session, file_id)
    if file is None:
        # Raises for an upload that isn't this app's, or doesn't exist.
        if look_up(session, snapshot, file_id, reach, now).state == "deleted":
            raise file_deleted()
        raise ProblemError(
            "file-not-stored",
            "this file's upload has not ended: ask again once it has, or delete it",
        )
    if not reach.covers(file.app_id, file.namespace):
        raise unknown(file_id)
    if file.state in ("deleting", "deleted"):
        raise file_deleted()
    holds.change(session, file, note, held=held)
    log_on_commit(
        session,
        "file held" if held else "file released",
        file_id=file_id,
        by=note.by,
        reason=note.reason,
    )
    return view_of(session, snapshot, file, now)


def remove(
    session: Session, snapshot: Snapshot, file_id: str, reach: Reach, now: datetime
) -> FileView:
    """Delete a file from every node that has it: at once for whoever asks, then by leases.

    An upload that has not ended is called off: its token is revoked. Deleting again is no mistake.
    Raises ProblemError when there is no such file within reach.
    """
    file = copies.lock_file(session, file_id)
    if file is None and (upload := receipts.awaited(session, file_id)) is not None:
        if not reach.covers(upload.app_id, upload.namespace):
            raise unknown(file_id)
        receipts.call_off(session, upload, now)
        return _upload_view(snapshot, upload, "deleted")
    file = file or copies.lock_file(session, file_id)
    if file is None or not reach.covers(file.app_id, file.namespace):
        raise unknown(file_id)
    delete_everywhere(session, file, now)
    return view_of(session, snapshot, file, now)


def delete_everywhere(session: Session, file: File, now: datetime) -> None:
    """Have every node that has the file delete it. Its row is locked; again it changes nothing."""
    if file.state not in ("deleting", "deleted"):
        if usage.counts(file):
            usage.changed(session, file.app_id, file.owner, -usage.of_file(file.size))
        file.state, file.changed_at = "deleting", now
        session.flush()
        for node_id in _nodes_with_it(copies.copies_of(session, file.file_id).values()):
            leases.order_deletion(session, file, node_id, "delete", now, tombstone=True)
        leases.call_off(session, file, now)
    leases.finish_deletion(session, file, now)
    holds.forget(session, file)


def _nodes_with_it(copies: Iterable[Copy]) -> Sequence[str]:
    return sorted(copy.node_id for copy in copies if copy.state in ("present", "copying"))
