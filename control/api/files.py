"""`/api/v1/files`: receipts in; files, URLs and deletions out."""

from __future__ import annotations

import re

import falcon
from falcon.util import mediatypes
from pydantic import Field
from sqlalchemy.orm import Session

from control.api.requests import json_body
from control.api.requests.resource import Resource, Services
from control.files import lifetime_change, receipts, service, serving
from control.problems import ProblemError
from portside.tokens import LONGEST, SigningKey
from portside.web.redirects import is_saved
from portside.web.resources import answers_head
from portside.wire.base import Request
from portside.wire.control import FileReceipt, FileView
from portside.wire.fields import FILE_ID_PATTERN
from portside.wire.files import FileQuery, HoldNote, HoldRequest, LifetimeChange


@answers_head
class Files(Resource):
    """Every file."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """A page of files, newest first."""
        caller = self._access.need(request, "read")
        wanted = json_body.query(request, FileQuery)
        snapshot, now = self._snapshots.current(), self._clock()
        json_body.answer(
            response,
            self._database.read(
                lambda session: service.find(session, snapshot, wanted, caller.reach, now)
            ),
        )

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """A node's receipt, from whoever has it: its signature is all that counts. Always 200."""
        brought = json_body.parse(request, FileReceipt)
        snapshot, now = self._snapshots.current(), self._clock()
        proof = receipts.verify(snapshot, brought.receipt, now)

        def work(session: Session) -> FileView:
            file = receipts.register(session, self._settings, proof, now)
            return service.view_of(session, snapshot, file, now)

        json_body.answer(response, self._database.write(work))


class UrlQuery(Request):
    """What a caller knows of a file's copies, and what the URL is to be like."""

    avoid: str = Field(
        default="",
        max_length=2000,
        description="Nodes that are no use, with commas: their copies come last.",
    )
    valid: int | None = Field(
        default=None,
        ge=10,
        # It reads for whoever has it, and stays good.
        le=LONGEST,
        description="Seconds for which the URL of a private file is good.",
    )
    download: str | None = Field(
        default=None, max_length=1000, description="That a browser is to save what it would show."
    )


@answers_head
class OneFile(Resource):
    """One file."""

    def __init__(self, services: Services, key: SigningKey | None) -> None:
        super().__init__(services)
        self._key = key

    def on_get(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The file, or the upload it is to come from: ask again until it is `safe`."""
        caller = self._access.need(request, "read", "upload")
        file_id = id_of(file_id)
        snapshot, now = self._snapshots.current(), self._clock()
        json_body.answer(
            response,
            self._database.read(
                lambda session: service.look_up(session, snapshot, file_id, caller.reach, now)
            ),
        )

    def on_get_url(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """302 to a copy that can be reached, or its URL as JSON for who accepts that."""
        may_read = self._access.reading(request)
        file_id = id_of(file_id)
        query = json_body.query(request, UrlQuery)
        wanted = serving.Wanted(query.avoid.split(","), query.valid, is_saved(request.query_string))
        snapshot, now = self._snapshots.current(), self._clock()
        found = self._database.read(
            lambda session: serving.fetch(
                session, snapshot, self._settings, self._key, file_id, now, may_read, wanted
            )
        )
        json_body.answer(response, found)
        response.set_header("Vary", "Accept, Authorization")
        if not _wants_json(request):
            response.status = 302
            response.set_header("Location", found.url)

    def on_patch(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """Another moment at which the file ends: prolonged, ended now, or taken back."""
        caller = self._access.need(request, "delete")
        file_id = id_of(file_id)
        wanted = json_body.parse(request, LifetimeChange)
        snapshot, now = self._snapshots.current(), self._clock()
        changed = self._database.write(
            lambda session: lifetime_change.change(
                session, snapshot, self._settings, file_id, caller.reach, wanted, now
            )
        )
        self._snapshots.forget()
        json_body.answer(response, changed)

    def on_delete(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The file as deleted: for who asks here at once, on each node with its next heartbeat."""
        caller = self._access.need(request, "delete")
        file_id = id_of(file_id)
        snapshot, now = self._snapshots.current(), self._clock()
        removed = self._database.write(
            lambda session: service.remove(session, snapshot, file_id, caller.reach, now)
        )
        self._snapshots.forget()
        json_body.answer(response, removed)


class Hold(Resource):
    """Holding a file, or releasing it."""

    def __init__(self, services: Services, *, held: bool) -> None:
        super().__init__(services)
        self._held = held

    def on_post(self, request: falcon.Request, response: falcon.Response, file_id: str) -> None:
        """The file as it is now: for who asks here at once, on each node with its next heartbeat.

        Whoever may delete a file may keep it from everybody for a while.
        """
        caller = self._access.need(request, "delete")
        file_id = id_of(file_id)
        sent = request.content_length or request.get_header("Transfer-Encoding")
        said = json_body.parse(request, HoldRequest) if sent else HoldRequest()
        snapshot = self._snapshots.current()
        now = self._clock()
        note = HoldNote(reason=said.reason or "", by=caller.app.app_id, at=now)
        json_body.answer(
            response,
            self._database.write(
                lambda session: service.set_held(
                    session, snapshot, file_id, caller.reach, note, now, held=self._held
                )
            ),
        )


def _wants_json(request: falcon.Request) -> bool:
    """Whether who asks reads JSON. Browsers and download tools name no such type; HTTP libraries of
    apps do (axios, Angular, jQuery), with `*/*` behind it."""
    named = ",".join(each for each in request.accept.split(",") if "*/*" not in each)
    try:
        return mediatypes.quality(falcon.MEDIA_JSON, named) > 0
    except ValueError:
        # None is named, or what is no media type.
        return False


def id_of(written: str) -> str:
    """A file's id as it is kept, also of one written as a UUID. Raises ProblemError."""
    file_id = written.lower().replace("-", "")
    if not re.fullmatch(FILE_ID_PATTERN, file_id):
        raise ProblemError("not-found", "a file's id has 32 hexadecimal digits")
    return file_id
