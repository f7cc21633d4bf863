"""`/api/v1/revocations`: tokens that operators have revoked, and revoking one."""

from __future__ import annotations

from collections.abc import Callable

import falcon

from control.api.requests import json_body
from control.api.requests.resource import Resource, Services
from control.db.models import RevokedToken
from control.sessions import revocations
from portside.web.resources import answers_head
from portside.wire.keys import Keyset, RevocationRequest, RevokedView, RevokedViews


@answers_head
class Revocations(Resource):
    """Every token that is revoked. Nobody takes it back: whoever may have it gets a new one."""

    def __init__(self, services: Services, trusted: Callable[[], Keyset]) -> None:
        super().__init__(services)
        self._trusted = trusted

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Those that would count otherwise, the newest first."""
        self._access.need(request, "admin")
        found = self._database.read(lambda session: revocations.standing(session, self._clock()))
        json_body.answer(response, RevokedViews(revoked=tuple(map(_view, found))))

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """201 with the revocation, also of a token that was revoked before."""
        caller = self._access.need(request, "admin")
        wish, now = json_body.parse(request, RevocationRequest), self._clock()
        asked = revocations.asked_for(wish, self._trusted(), now)
        by = caller.app.app_id
        row = self._database.write(
            lambda session: revocations.revoke(session, asked, wish.reason, by, now)
        )
        self._snapshots.forget()
        json_body.answer(response, _view(row), 201)


def _view(row: RevokedToken) -> RevokedView:
    return RevokedView(
        token_id=row.token_id,
        kind=row.kind,
        node_id=row.node_id,
        reason=row.reason,
        revoked_by=row.revoked_by,
        revoked_at=row.revoked_at,
        expires_at=row.expires_at,
    )
