"""`/api/v1/files/<id>/hold` and `/release`: what a node serves to nobody for a while, and again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import falcon
from pydantic import ValidationError

from agent.api.authorization import Access
from agent.api.files import authorization_of, file_deleted, storage_problems
from agent.index.database import Database
from agent.index.search import look_up
from agent.problems import ProblemError
from agent.settings import Settings
from agent.storage.holds import set_held
from agent.telemetry.health import NodeHealth
from portside.wire.files import HoldNote, HoldRequest
from portside.wire.problem import in_words

_MOST = 4096
"""Bytes of a body: a reason of 200 characters fits in any spelling of JSON."""


class Hold:
    """One of both ways; the other is the same with the other word."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        access: Access,
        health: NodeHealth,
        way: Literal["hold", "release"],
    ) -> None:
        self._settings = settings
        self._database = database
        self._access = access
        self._health = health
        self._held = way == "hold"

    def on_post(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """Durably so before the answer, which is the file as it is now. Again, it changes the note.

        On a node that takes no more writes a hold is tried all the same: the row alone stops the
        agent, and what can't be written is a problem that the caller hears of.
        """
        known = look_up(self._database, file_id)
        if known is None:
            raise ProblemError("not-found", "this node holds no file with this id")
        by = self._access.need("hold", known.stored, authorization_of(request))
        if known.state in ("DELETING", "DELETED"):
            raise file_deleted()
        note = HoldNote(reason=_reason(request), by=by, at=datetime.now(UTC))
        with storage_problems(self._health):
            stored = set_held(self._settings, self._database, file_id, held=self._held, note=note)
        if stored is None:
            raise file_deleted()
        response.content_type = falcon.MEDIA_JSON
        response.set_header("Cache-Control", "private, no-store")
        response.text = stored.model_dump_json()


def _reason(request: falcon.Request) -> str:
    length = request.content_length
    if not length:
        return ""
    if length > _MOST:
        raise ProblemError("malformed-request", f"send a JSON body of at most {_MOST} bytes")
    try:
        said = HoldRequest.model_validate_json(request.bounded_stream.read(length))
    except ValidationError as error:
        raise ProblemError("malformed-request", in_words(error)) from None
    return said.reason or ""
