"""Who has how much, and how much of what may be: pages of owners and of apps, the most first.

A key sees its own app, with its owners. One that is bound to namespaces sees those of them who have
something there, and of these what they have in all, for quotas know no namespaces: a session's
answer tells it the same.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import ColumnElement, Row, Select, and_, or_, select, text
from sqlalchemy.orm import Session

from control.catalogue.usage import COUNTED, EVERYBODY
from control.cluster import quotas
from control.cluster.quotas import Holder
from control.cluster.reach import Reach
from control.db.models import File, UploadSession, Usage
from control.problems import ProblemError
from portside import base64url
from portside.cluster.quotas import Quota, Quotas
from portside.wire.bounds import LARGEST
from portside.wire.status import CountedShare, UsageQuery, UsageView, UsageViews

_used: ColumnElement[int] = Usage.bytes + Usage.promised_bytes


def find(session: Session, configured: Quotas, query: UsageQuery, reach: Reach) -> UsageViews:
    """A page of those within reach. Raises ProblemError."""
    rows = session.execute(_query(query, reach)).all()
    page = rows[: query.limit]
    holders = {_holder(row) for row in page}
    may = quotas.in_force(session, configured, holders)
    return UsageViews(
        usage=tuple(_view(row, may[_holder(row)]) for row in page),
        next=_cursor(page[-1]) if len(rows) > len(page) else None,
    )


def _query(query: UsageQuery, reach: Reach) -> Select[str, str, int, int, int, int]:
    found = select(
        Usage.app_id,
        Usage.owner,
        Usage.bytes,
        Usage.files,
        Usage.promised_bytes,
        Usage.promised_files,
    )
    if query.of == "apps":
        found = found.where(Usage.owner == EVERYBODY)
    else:
        found = found.where(Usage.owner != EVERYBODY)
    if reach.app_id is not None:
        found = found.where(Usage.app_id == reach.app_id)
    if reach.namespaces is not None and query.of == "owners":
        found = found.where(_is_in(sorted(reach.namespaces)))
    if query.owner is not None:
        # Sessions have it composed, tokens of other issuers as those wrote it.
        alike = {query.owner, unicodedata.normalize("NFC", query.owner.strip())}
        found = found.where(Usage.owner.in_(sorted(alike)))
    if query.app is not None:
        found = found.where(Usage.app_id == query.app)
    if query.cursor is not None:
        used, app_id, owner = _position(query.cursor)
        found = found.where(
            or_(
                _used < used,
                and_(
                    _used == used,
                    or_(Usage.app_id > app_id, and_(Usage.app_id == app_id, Usage.owner > owner)),
                ),
            )
        )
    # One more tells whether there is a next page.
    return found.order_by(_used.desc(), Usage.app_id, Usage.owner).limit(query.limit + 1)


def _is_in(namespaces: Sequence[str]) -> ColumnElement[bool]:
    """Whether an owner has a file in one of these, or an upload under way."""
    stored = select(File.file_id).where(
        File.owner == Usage.owner,
        File.app_id == Usage.app_id,
        File.namespace.in_(namespaces),
        File.state.in_(COUNTED),
    )
    coming = select(UploadSession.owner).where(
        text("sessions.state = 'open'"),
        UploadSession.app_id == Usage.app_id,
        UploadSession.namespace.in_(namespaces),
    )
    return or_(stored.exists(), Usage.owner.in_(coming))


def _holder(row: Row[str, str, int, int, int, int]) -> Holder:
    return ("app", row.app_id) if row.owner == EVERYBODY else ("owner", row.owner)


def _view(row: Row[str, str, int, int, int, int], may: Quota) -> UsageView:
    return UsageView(
        app_id=row.app_id or None,
        owner=None if row.owner == EVERYBODY else row.owner,
        bytes=_share(row.bytes, row.promised_bytes, may.bytes),
        files=_share(row.files, row.promised_files, may.files),
    )


def _share(stored: int, promised: int, limit: int | None) -> CountedShare:
    used = max(0, stored + promised)
    return CountedShare(
        limit=limit,
        used=used,
        left=None if limit is None else max(0, limit - used),
        promised=max(0, promised),
    )


def _cursor(row: Row[str, str, int, int, int, int]) -> str:
    at = [row.bytes + row.promised_bytes, row.app_id, row.owner]
    return base64url.encode(json.dumps(at, ensure_ascii=False).encode())


def _position(cursor: str) -> tuple[int, str, str]:
    with suppress(ValueError, TypeError, AttributeError, RecursionError):
        used, app_id, owner = json.loads(base64url.decode(cursor).decode())
        # What a database takes: no NUL, and nothing that is no Unicode.
        fits = isinstance(used, int) and abs(used) <= LARGEST and b"\x00" not in app_id.encode()
        if fits and b"\x00" not in owner.encode():
            return used, app_id, owner
    raise ProblemError("malformed-request", "cursor: give the 'next' of the page before as it was")
