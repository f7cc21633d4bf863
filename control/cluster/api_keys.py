"""Apps and their API keys: made here, shown once, kept as a digest.

A key is 256 random bits, so a plain SHA-256 keeps it: there is nothing to guess that a slow hash
would have to hold up (unlike a password).
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from control.db.models import App

Scope = Literal["upload", "read", "delete", "admin"]
"""Opening sessions; finding and fetching one's files; deleting them; everything, of everybody."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

KEY_PREFIX = "portside_"
"""Tells secret scanners and people what a string is that turns up somewhere."""


class AppRefused(Exception):
    """An app that can't be made or isn't there; the message says why."""


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def create(
    session: Session,
    app_id: str,
    scopes: Sequence[Scope],
    now: datetime,
    namespaces: Sequence[str] = (),
) -> str:
    """Make an app; returns its key, which nobody can find out later. Raises AppRefused.

    Its key is bound to these `namespaces`, to none without any. An app that was revoked may be
    made again, with a new key.
    """
    if namespaces and "admin" in scopes:
        raise AppRefused("a key with the scope admin reaches everything: bind it to no namespace")
    app = session.get(App, app_id)
    if app is not None and app.revoked_at is None:
        raise AppRefused(
            f"there is an app {app_id!r} already: revoke it first, or name it otherwise"
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    if app is None:
        app = App(app_id=app_id)
        session.add(app)
    app.key_sha256, app.scopes = digest(key), sorted(set(scopes))
    app.namespaces = sorted(set(namespaces)) or None
    app.created_at, app.revoked_at = now, None
    return key


def revoke(session: Session, app_id: str, now: datetime) -> None:
    """End an app's key, within seconds. Its sessions and files stay. Raises AppRefused."""
    app = session.get(App, app_id)
    if app is None:
        raise AppRefused(f"there is no app {app_id!r}")
    app.revoked_at = app.revoked_at or now


def every(session: Session) -> list[App]:
    """Every app, revoked ones too."""
    return list(session.scalars(select(App).order_by(App.app_id)))
