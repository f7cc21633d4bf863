"""Who has how much, and how much of what may be: pages of owners and of apps, the most first.

A key sees its own app, with all of its owners: what a session's answer tells it of each anyway. One
that is bound to namespaces sees the same, for quotas know no namespaces.
"""

from __future__ import annotations

import json
from contextlib import suppress

from sqlalchemy import ColumnElement, Row, Select, and_, false, or_, select
from sqlalchemy.orm import Session

from control.catalogue.usage import EVERYBODY
from control.cluster import quotas
from control.cluster.quotas import Holder
from control.cluster.reach import Reach
from control.db.models import Usage
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
    if reach.namespaces is not None and not reach.namespaces:
        found = found.where(false())
    if query.owner is not None:
        found = found.where(Usage.owner == query.owner)
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
