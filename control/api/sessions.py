"""`/api/v1/upload/...`: sessions, and where an upload would go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import ClassVar

import falcon
from pydantic import Field

from control.api.metrics import Metrics
from control.api.requests import json_body
from control.api.requests.authorization import Access
from control.problems import ProblemError
from control.sessions.checks import AppRequest
from control.sessions.opening import SessionOpener
from portside.tracing.spans import step
from portside.web.resources import answers_head
from portside.wire.base import Request
from portside.wire.control import SessionRequest
from portside.wire.spellings import AnyRegion, ExactBytes

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class UploadSessions:
    """Opening sessions."""

    def __init__(
        self,
        access: Access,
        opener: SessionOpener,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._access = access
        self._opener = opener
        self._metrics = metrics
        self._clock = clock

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """201 with the session; 200 when this Idempotency-Key has opened it before."""
        caller = self._access.need(request, "upload")
        wanted = json_body.parse(request, SessionRequest)
        key = request.get_header("Idempotency-Key")
        if key is not None and not _KEY.fullmatch(key):
            raise ProblemError(
                "malformed-request", "an Idempotency-Key has 1 to 128 visible ASCII characters"
            )
        with self._metrics.session(), step("session"):
            session, new = self._opener.open(AppRequest(caller.app, wanted, key), self._clock())
        json_body.answer(response, session, 201 if new else 200)


class ServerQuery(Request):
    """What an upload that somebody has in mind is like."""

    also_called: ClassVar[Mapping[str, str]] = {"file_size": "size", "filesize": "size"}

    size: ExactBytes = Field(default=0, description="Bytes; 0 when unknown.")
    region: AnyRegion = Field(
        default=None,
        description="The region that is preferred: letters, digits and '-', at most 32 of them.",
    )


@answers_head
class UploadServers:
    """Where uploads go now."""

    def __init__(self, access: Access, opener: SessionOpener) -> None:
        self._access = access
        self._opener = opener

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The node that a session would get now; nothing is promised."""
        self._access.need(request, "upload")
        wanted = json_body.query(request, ServerQuery)
        json_body.answer(response, self._opener.server(wanted.size, wanted.region))
