"""`/api/v1/uploads`: resumable uploads in two dialects, tus 1.0 and the IETF's draft."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import wraps
from typing import ClassVar, TypeVar, cast

import falcon

from agent.dialects import draft
from agent.dialects.checksum import CHECKSUMS
from agent.dialects.draft import PARTIAL_TYPE
from agent.dialects.patience import patience_of
from agent.dialects.places import plain_path
from agent.dialects.request import TUS_VERSION, ResumableRequest, resumable_request
from agent.incoming.body import Body, ChunkedBody, EmptyBody, SizedBody
from agent.incoming.origin import client_origin
from agent.incoming.receiving import Receiving
from agent.incoming.request_head import RequestHead
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.resumable.service import Reached, ResumableUploads, Sending
from agent.settings import Settings
from agent.telemetry.metrics import Metrics
from portside.wire import paths
from portside.wire.files import StoredFile

TUS_EXTENSIONS = (
    "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,"
    "concatenation"
)


class PlainPaths:
    """falcon's middleware: paths of uploads are routed as they are meant."""

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Before a route is looked for."""
        request.path = plain_path(request.path)


_Responder = TypeVar("_Responder", bound=Callable[..., None])


def _refusing_in_its_dialect(responder: _Responder) -> _Responder:
    """Problems of this responder are told in the words of the dialect that the request is in."""

    @wraps(responder)
    def respond(self: object, request: falcon.Request, *others: object, **named: object) -> None:
        with draft.refusals(RequestHead.of_request(request.env)):
            responder(self, request, *others, **named)

    return cast(_Responder, respond)


class _Resource:
    """What the collection and its members share."""

    _allow: ClassVar[str]

    def __init__(self, settings: Settings, uploads: ResumableUploads, metrics: Metrics) -> None:
        self._settings = settings
        self._uploads = uploads
        self._metrics = metrics

    def on_options(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        """What is spoken here: versions, extensions, limits (tus; IETF draft, "Limits")."""
        response.status = falcon.HTTP_204
        response.set_header("Allow", self._allow)
        response.set_header("Accept-Patch", PARTIAL_TYPE)
        response.set_header("Tus-Resumable", TUS_VERSION)
        response.set_header("Tus-Version", TUS_VERSION)
        response.set_header("Tus-Extension", TUS_EXTENSIONS)
        response.set_header("Tus-Max-Size", str(self._settings.max_size))
        response.set_header("Tus-Checksum-Algorithm", ",".join(CHECKSUMS))
        response.set_header("Upload-Limit", f"max-size={self._settings.max_size}")

    def _asked(self, request: falcon.Request, response: falcon.Response) -> ResumableRequest:
        # Caches may keep a 404 or a 410 as well (RFC 9110, section 15.1).
        response.set_header("Cache-Control", "no-store")
        # tus wants its version in every answer, refusals too.
        if request.get_header("Tus-Resumable"):
            response.set_header("Tus-Resumable", TUS_VERSION)
        asked = resumable_request(RequestHead.of_request(request.env))
        if asked.version.number:
            response.set_header("Upload-Draft-Interop-Version", asked.version.number)
        return asked

    def _origin(self, request: falcon.Request) -> str:
        return client_origin(RequestHead.of_request(request.env), request.scheme)

    def _send(self, request: falcon.Request, asked: ResumableRequest) -> Reached:
        """Let the request's bytes in, until they end or a newer request ends this one."""
        ended = threading.Event()
        connection: socket.socket = request.env["gunicorn.socket"]

        def interrupt() -> None:
            ended.set()
            try:
                connection.shutdown(socket.SHUT_RD)
            except OSError:
                # Closed already: then nothing waits for it any more.
                return

        with self._metrics.upload(asked.dialect or "tus") as timer:
            sending = Sending(
                asked, lambda receiving: _body(request, asked, receiving), interrupt, timer
            )
            act = self._uploads.create if asked.method == "POST" else self._uploads.append
            try:
                return act(sending)
            except ProblemError as problem:
                if problem.slug == "body-cut" and ended.is_set():
                    raise ProblemError(
                        "upload-locked", "a newer request has taken over: ask it for the offset"
                    ) from None
                raise

    def _answer(
        self, asked: ResumableRequest, reached: Reached, response: falcon.Response, origin: str
    ) -> None:
        """How far the upload is, and the stored file if that is its end."""
        upload, stored = reached.upload, reached.stored
        _describe(upload, asked, response, self._settings.max_size)
        if stored is None:
            response.status = falcon.HTTP_201 if asked.method == "POST" else falcon.HTTP_204
            return
        response.set_header("Content-Location", f"{origin}{paths.FILES}/{stored.file_id}")
        # tus's answer to a PATCH has no body (core protocol): only who asks for one gets it.
        if asked.method == "PATCH" and asked.dialect == "tus" and not asked.wants_json:
            response.status = falcon.HTTP_204
            return
        response.status = falcon.HTTP_201 if asked.method == "POST" else falcon.HTTP_200
        response.content_type = falcon.MEDIA_JSON
        response.text = stored.model_dump_json()


class Uploads(_Resource):
    """The collection: uploads begin here."""

    _allow = "POST, OPTIONS"

    @_refusing_in_its_dialect
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """Begin an upload, or find the one this token has begun: 201 with its Location."""
        asked = self._asked(request, response)
        if asked.method != "POST":
            raise falcon.HTTPMethodNotAllowed(self._allow.split(", "))
        reached = self._send(request, asked)
        origin = self._origin(request)
        response.location = f"{origin}{paths.RESUMABLE_UPLOADS}/{reached.upload.upload_id}"
        self._answer(asked, reached, response, origin)


class OneUpload(_Resource):
    """One upload: how far it is, its next bytes, its end."""

    _allow = "HEAD, GET, PATCH, DELETE, POST, OPTIONS"

    @_refusing_in_its_dialect
    def on_post(self, request: falcon.Request, response: falcon.Response, upload_id: str) -> None:
        """What X-HTTP-Method-Override says, for clients that can't send it (tus, core protocol)."""
        meant = self._asked(request, response).method
        if meant == "POST":
            raise falcon.HTTPMethodNotAllowed(self._allow.split(", "))
        act = {"HEAD": self.on_head, "PATCH": self.on_patch, "DELETE": self.on_delete}[meant]
        act(request, response, upload_id)

    @_refusing_in_its_dialect
    def on_head(self, request: falcon.Request, response: falcon.Response, upload_id: str) -> None:
        """The offset up to which bytes are on disk."""
        self._tell(request, response)

    @_refusing_in_its_dialect
    def on_get(self, request: falcon.Request, response: falcon.Response, upload_id: str) -> None:
        """The same; and the stored file, for whom its last answer never reached (IETF draft)."""
        stored = self._tell(request, response)
        response.status = falcon.HTTP_204
        if stored is not None:
            response.status = falcon.HTTP_200
            response.content_type = falcon.MEDIA_JSON
            response.text = stored.model_dump_json()

    @_refusing_in_its_dialect
    def on_patch(self, request: falcon.Request, response: falcon.Response, upload_id: str) -> None:
        """Take in the bytes from the offset on."""
        asked = self._asked(request, response)
        self._answer(asked, self._send(request, asked), response, self._origin(request))

    @_refusing_in_its_dialect
    def on_delete(self, request: falcon.Request, response: falcon.Response, upload_id: str) -> None:
        """Give the upload up."""
        self._uploads.terminate(self._asked(request, response))
        response.status = falcon.HTTP_204

    def _tell(self, request: falcon.Request, response: falcon.Response) -> StoredFile | None:
        """Answer how far the upload is; returns the stored file if that is its end."""
        asked = self._asked(request, response)
        with patience_of(asked.dialect, "HEAD"):
            reached = self._uploads.reached(asked)
        upload = reached.upload
        _describe(upload, asked, response, self._settings.max_size)
        if asked.dialect == "tus" and upload.details.metadata:
            response.set_header("Upload-Metadata", upload.details.metadata)
        if asked.dialect == "tus" and upload.details.concat:
            response.set_header("Upload-Concat", upload.details.concat)
        response.status = falcon.HTTP_200 if asked.dialect == "tus" else falcon.HTTP_204
        return reached.stored


def _describe(
    upload: Upload, asked: ResumableRequest, response: falcon.Response, max_size: int
) -> None:
    response.set_header("Upload-Offset", str(upload.offset))
    response.set_header("Cache-Control", "no-store")
    if upload.length is not None:
        response.set_header("Upload-Length", str(upload.length))
    if asked.dialect == "tus":
        if upload.length is None:
            response.set_header("Upload-Defer-Length", "1")
        expires = datetime.fromtimestamp(upload.deadline, UTC)
        response.set_header("Upload-Expires", format_datetime(expires, usegmt=True))
    else:
        left = max(0, upload.deadline - int(time.time()))
        response.set_header(*asked.version.told(upload.state == "COMPLETE"))
        largest = min(max_size, upload.details.claims.size_limit)
        response.set_header("Upload-Limit", f"max-size={largest}, max-age={left}")


def _body(request: falcon.Request, asked: ResumableRequest, receiving: Receiving) -> Body:
    if asked.body_length is None:
        return ChunkedBody(request.env, receiving)
    if asked.body_length == 0:
        return EmptyBody()
    return SizedBody(request.env, asked.body_length, receiving)
