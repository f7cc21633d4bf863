"""Quotas in force: what was set at run time, before what the cluster file says.

What a setting leaves out is the cluster file's, which may change with a deploy.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import and_, bindparam, or_, select, tuple_
from sqlalchemy.orm import Session

from control.db.deferred_log import log_on_commit
from control.db.models import App, QuotaKind, QuotaSetting
from control.problems import ProblemError
from portside.cluster.quotas import Quota, Quotas
from portside.wire.status import QuotaInForce, QuotaWish

Holder = tuple[QuotaKind, str]
"""An owner or an app, by its name."""


def in_force(
    session: Session, configured: Quotas, holders: Collection[Holder]
) -> dict[Holder, Quota]:
    """The quota of each of these."""
    set_ = _set(session, holders)
    return {each: _of(configured, each, set_.get(each)) for each in holders}


def of_both(session: Session, configured: Quotas, app_id: str, owner: str) -> tuple[Quota, Quota]:
    """The owner's and the app's, as each session needs them."""
    rows = session.connection().execute(_OF_BOTH, {"app": app_id, "owner": owner})
    set_ = {kind: Quota.model_validate(said) for kind, said in rows}
    return (
        _of(configured, ("owner", owner), set_.get("owner")),
        _of(configured, ("app", app_id), set_.get("app")),
    )


# Made once: putting a statement together takes longer than SQLite takes to carry it out.
_OF_BOTH = select(QuotaSetting.kind, QuotaSetting.quota).where(
    or_(
        and_(QuotaSetting.kind == "owner", QuotaSetting.name == bindparam("owner")),
        and_(QuotaSetting.kind == "app", QuotaSetting.name == bindparam("app")),
    )
)


def look_up(session: Session, configured: Quotas, holder: Holder) -> QuotaInForce:
    """One of them, and what of it was set at run time."""
    set_ = _set(session, [holder]).get(holder)
    quota, (kind, name) = _of(configured, holder, set_), holder
    return QuotaInForce.model_validate(
        {
            "kind": kind,
            "name": name,
            "bytes": quota.bytes,
            "files": quota.files,
            "set": tuple(sorted(set_.said())) if set_ else (),
        }
    )


def change(session: Session, holder: Holder, wish: QuotaWish, by: str) -> None:
    """Set it anew. Raises ProblemError for an app that there isn't, or a wish that says nothing."""
    kind, name = holder
    said = {key: getattr(wish, key) for key in wish.model_fields_set}
    if not said:
        raise ProblemError(
            "malformed-request", "give 'bytes', 'files' or both; null in one of them is no limit"
        )
    if kind == "app" and session.get(App, name) is None:
        raise ProblemError("not-found", f"there is no app {name!r}: `portside app list` names all")
    session.merge(QuotaSetting(kind=kind, name=name, quota=said))
    session.flush()
    log_on_commit(session, "quota set", kind=kind, name=name, by=by, **said)


def unset(session: Session, holder: Holder, by: str) -> None:
    """Let it be as the cluster file has it. Again it changes nothing."""
    kind, name = holder
    found = session.get(QuotaSetting, (kind, name))
    if found is not None:
        session.delete(found)
        session.flush()
        log_on_commit(session, "quota unset", kind=kind, name=name, by=by)


def _set(session: Session, holders: Collection[Holder]) -> dict[Holder, Quota]:
    rows = session.execute(
        select(QuotaSetting.kind, QuotaSetting.name, QuotaSetting.quota).where(
            tuple_(QuotaSetting.kind, QuotaSetting.name).in_(sorted(holders))
        )
    )
    return {(kind, name): Quota.model_validate(said) for kind, name, said in rows}


def _of(configured: Quotas, holder: Holder, set_: Quota | None) -> Quota:
    kind, name = holder
    said = configured.of_owner(name) if kind == "owner" else configured.of_app(name)
    return said if set_ is None else set_.over(said)
