"""Apps and their API keys: made here, shown once, kept as a digest.

A key is 256 random bits, so a plain SHA-256 keeps it: there is nothing to guess that a slow hash
would have to hold up (unlike a password). An app has up to two keys at a time, so that one can
take the other's place without a gap; what a key is good for stands with its app, so that both are
good for the same. A key that has ended never counts again: an app that is made anew has another.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Select, or_, select, update
from sqlalchemy.orm import Session

from control.db.models import ApiKey, App

Scope = Literal["upload", "read", "delete", "admin"]
"""Opening sessions; finding and fetching one's files; deleting them; everything, of everybody."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

KEY_PREFIX = "portside_"
"""Tells secret scanners and people what a string is that turns up somewhere."""

MOST_KEYS = 2
"""Of an app that count at a time: the one that is used and the one that takes its place."""

_ID_LENGTH = 12
"""Hex digits of a key's digest that are its id: 48 bits tell a few thousand keys apart, and tell
nothing of a key of 256."""


class AppRefused(Exception):
    """What can't be done with an app or its keys; the message says why and what to do instead."""


class AppUnknown(AppRefused):
    """There is no such app, or it has no such key."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made: the one time that it is known."""

    key_id: str
    key: str
    old_ends_at: datetime | None
    """When the app's other key ends; None: when it is revoked."""


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def counts(now: datetime) -> ColumnElement[bool]:
    """The condition on `ApiKey` under which a key counts."""
    return or_(ApiKey.ends_at.is_(None), ApiKey.ends_at > now)


def create(
    session: Session,
    app_id: str,
    scopes: Sequence[Scope],
    now: datetime,
    namespaces: Sequence[str] = (),
) -> str:
    """Make an app; returns its key, which nobody can find out later. Raises AppRefused.

    Its keys are bound to these `namespaces`, to none without any. An app that was revoked may be
    made again, with a new key.
    """
    if namespaces and "admin" in scopes:
        raise AppRefused("a key with the scope admin reaches everything: bind it to no namespace")
    app = session.get(App, app_id)
    if app is not None and app.revoked_at is None:
        raise AppRefused(
            f"there is an app {app_id!r} already: give it another key with `app rotate`, revoke it "
            "first, or name the new one otherwise"
        )
    key = _fresh()
    if app is None:
        app = App(app_id=app_id)
        session.add(app)
    app.key_sha256, app.scopes = digest(key), sorted(set(scopes))
    app.namespaces = sorted(set(namespaces)) or None
    app.created_at, app.revoked_at = now, None
    session.flush()
    _add(session, app_id, key, now)
    return key


def rotate(
    session: Session, app_id: str, now: datetime, old_for: timedelta | None = None
) -> NewKey:
    """Give an app a second key; the first one counts for `old_for` more, or until it is revoked.

    Raises AppRefused while the app has two.
    """
    app = _app(session, app_id)
    live = list(session.scalars(_keys_of(app_id).where(counts(now))))
    if len(live) >= MOST_KEYS:
        listed = " and ".join(each.key_id for each in live)
        raise AppRefused(
            f"{app_id!r} has {len(live)} keys already, {listed}: end one first, with "
            f"`app revoke-key {app_id} KEY-ID`"
        )
    if old_for is not None:
        for each in live:
            each.ends_at = min(each.ends_at or now + old_for, now + old_for)
    key = _fresh()
    app.key_sha256 = digest(key)
    made = _add(session, app_id, key, now)
    return NewKey(made.key_id, key, live[0].ends_at if live else None)


def end_key(session: Session, app_id: str, key_id: str, now: datetime) -> None:
    """End one key of an app that has another. Raises AppRefused. Ending it again is no mistake."""
    _app(session, app_id)
    keys = {each.key_id: each for each in session.scalars(_keys_of(app_id))}
    if key_id not in keys:
        raise AppUnknown(
            f"{app_id!r} has no key {key_id!r}: "
            f"{' and '.join(keys) or 'it has none'} (`app list` tells more)"
        )
    key = keys.pop(key_id)
    if key.ends_at is not None and key.ends_at <= now:
        return
    if all(each.ends_at is not None and each.ends_at <= now for each in keys.values()):
        raise AppRefused(
            f"{key_id} is the last key of {app_id!r}: make another with `app rotate {app_id}`, or "
            f"end the app with `app revoke {app_id}`"
        )
    key.ends_at = now


def revoke(session: Session, app_id: str, now: datetime) -> None:
    """End an app's keys, within seconds. Its sessions and files stay. Raises AppRefused."""
    app = session.get(App, app_id, with_for_update=True)
    if app is None:
        raise AppUnknown(f"there is no app {app_id!r}")
    app.revoked_at = app.revoked_at or now
    session.execute(
        update(ApiKey)
        .where(ApiKey.app_id == app_id, counts(now))
        .values(ends_at=now)
        .execution_options(synchronize_session="fetch")
    )


def every(session: Session) -> list[tuple[App, list[ApiKey]]]:
    """Every app, revoked ones too, with its keys, the newest first."""
    keys: dict[str, list[ApiKey]] = {}
    for each in session.scalars(_in_order(select(ApiKey))):
        keys.setdefault(each.app_id, []).append(each)
    apps = session.scalars(select(App).order_by(App.app_id))
    return [(app, keys.get(app.app_id, [])) for app in apps]


def one(session: Session, app_id: str) -> tuple[App, list[ApiKey]]:
    """An app with its keys. Raises AppUnknown."""
    app = session.get(App, app_id)
    if app is None:
        raise AppUnknown(f"there is no app {app_id!r}")
    return app, list(session.scalars(_keys_of(app_id)))


def _app(session: Session, app_id: str) -> App:
    """An app whose keys may change, locked: of two who rotate at once one is refused."""
    app = session.get(App, app_id, with_for_update=True)
    if app is None:
        raise AppUnknown(f"there is no app {app_id!r}: make it with `app create {app_id}`")
    if app.revoked_at is not None:
        raise AppRefused(f"{app_id!r} was revoked: make it anew with `app create {app_id}`")
    return app


def _keys_of(app_id: str) -> Select[ApiKey]:
    return _in_order(select(ApiKey).where(ApiKey.app_id == app_id))


def _in_order(keys: Select[ApiKey]) -> Select[ApiKey]:
    return keys.order_by(ApiKey.created_at.desc(), ApiKey.key_id)


def _fresh() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def _add(session: Session, app_id: str, key: str, now: datetime) -> ApiKey:
    kept = digest(key)
    made = ApiKey(key_id=kept[:_ID_LENGTH], app_id=app_id, key_sha256=kept, created_at=now)
    session.add(made)
    session.flush()
    return made
