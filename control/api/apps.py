"""`/api/v1/apps`: apps as operators see them, and their API keys, changed without a gap."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NoReturn

import falcon
from sqlalchemy.orm import Session

from control.api.requests import json_body
from control.api.requests.resource import Resource
from control.cluster import api_keys
from control.cluster.api_keys import AppRefused, AppUnknown, NewKey
from control.db.models import ApiKey, App
from control.problems import ProblemError, Slug
from portside.web.resources import answers_head
from portside.wire.fields import APP_ID_PATTERN
from portside.wire.keys import AppView, AppViews, KeyRequest, KeyView, NewKeyView


@answers_head
class Apps(Resource):
    """Every app, and each. They are made on the control plane's node, by who has its keys."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The apps, revoked ones too."""
        self._access.need(request, "admin")
        now = self._clock()
        found = self._database.read(api_keys.every)
        json_body.answer(response, AppViews(apps=tuple(_view(*each, now) for each in found)))

    def on_get_one(self, request: falcon.Request, response: falcon.Response, app_id: str) -> None:
        """One app."""
        self._access.need(request, "admin")
        json_body.answer(response, self._one(app_id))

    def on_post_keys(self, request: falcon.Request, response: falcon.Response, app_id: str) -> None:
        """201 with another key, for the same as the one before."""
        self._access.need(request, "admin")
        wish = KeyRequest()
        if request.content_length:
            wish = json_body.parse(request, KeyRequest)
        old_for = None if wish.old_for is None else timedelta(seconds=wish.old_for)
        now = self._clock()

        def work(session: Session) -> NewKey:
            try:
                return api_keys.rotate(session, _named(app_id), now, old_for)
            except AppRefused as refused:
                _refuse(refused)

        made = self._database.write(work)
        self._snapshots.forget()
        json_body.answer(
            response,
            NewKeyView(
                app_id=app_id, key_id=made.key_id, key=made.key, old_ends_at=made.old_ends_at
            ),
            201,
        )

    def on_delete_key(
        self, request: falcon.Request, response: falcon.Response, app_id: str, key_id: str
    ) -> None:
        """The app with the key that is left. The same again changes nothing."""
        self._access.need(request, "admin")
        now = self._clock()

        def work(session: Session) -> None:
            try:
                api_keys.end_key(session, _named(app_id), key_id, now)
            except AppRefused as refused:
                _refuse(refused)

        self._database.write(work)
        self._snapshots.forget()
        json_body.answer(response, self._one(app_id))

    def _one(self, app_id: str) -> AppView:
        now = self._clock()
        try:
            found = self._database.read(lambda session: api_keys.one(session, _named(app_id)))
        except AppRefused as refused:
            _refuse(refused)
        return _view(*found, now)


def _named(app_id: str) -> str:
    """An app's name that may be one. Raises AppUnknown."""
    if not re.fullmatch(APP_ID_PATTERN, app_id):
        raise AppUnknown("no app is named like that: GET /api/v1/apps lists them")
    return app_id


def _refuse(refused: AppRefused) -> NoReturn:
    slug: Slug = "app-unknown" if isinstance(refused, AppUnknown) else "app-refused"
    raise ProblemError(slug, str(refused)) from None


def _view(app: App, keys: Sequence[ApiKey], now: datetime) -> AppView:
    return AppView(
        app_id=app.app_id,
        scopes=tuple(app.scopes),
        namespaces=None if app.namespaces is None else tuple(app.namespaces),
        created_at=app.created_at,
        revoked_at=app.revoked_at,
        keys=tuple(
            KeyView(
                key_id=key.key_id,
                created_at=key.created_at,
                ends_at=key.ends_at,
                last_used_at=key.last_used_at,
            )
            for key in keys
            if key.ends_at is None or key.ends_at > now
        ),
    )
