"""`/api/internal/replicate/<path>`: another node brings a copy of its file, or fetches one."""

from __future__ import annotations

import socket
import threading
from urllib.parse import quote

import falcon

from agent.api.files import CONTENT_LOCATION
from agent.incoming.body import Body, EmptyBody, SizedBody
from agent.incoming.receiving import Receiving
from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError
from agent.replication.receiver import Reached, ReplicaReceiver, Sending
from agent.replication.request import ReplicateRequest, replicate_request
from agent.telemetry.metrics import Metrics
from portside.digest import format_repr_digest


class Replicate:
    """One file's push: how far it is, its bytes, its being given up."""

    def __init__(self, replicas: ReplicaReceiver, metrics: Metrics) -> None:
        self._replicas = replicas
        self._metrics = metrics

    def on_head(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """The offset up to which bytes are on disk, and whether that is all of them."""
        asked = replicate_request(RequestHead.of_request(request.env))
        _describe(self._replicas.reached(asked), response)
        response.status = falcon.HTTP_204

    def on_get(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """The file's bytes for a node whose own copy of it is damaged: nginx sends them, but for
        those of a held file, which it can't read.
        """
        content = self._replicas.content(replicate_request(RequestHead.of_request(request.env)))
        stored = content.stored
        response.content_type = "application/octet-stream"
        response.set_header("Cache-Control", "no-store")
        response.set_header("Repr-Digest", format_repr_digest(stored.sha256))
        if content.file is None:
            response.set_header("X-Accel-Redirect", CONTENT_LOCATION + quote(str(stored.path)))
        else:
            response.set_stream(content.file, stored.size)

    def on_put(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """Take in bytes, from the beginning or where Content-Range says."""
        asked = replicate_request(RequestHead.of_request(request.env))
        reached = self._receive(request, asked)
        _describe(reached, response)
        if reached.stored is None:
            response.status = falcon.HTTP_204
            return
        created = reached.outcome == "stored"
        response.status = falcon.HTTP_201 if created else falcon.HTTP_200
        response.location = reached.stored.direct_url
        response.content_type = falcon.MEDIA_JSON
        response.text = reached.stored.model_dump_json()

    def on_delete(self, request: falcon.Request, response: falcon.Response, path: str) -> None:
        """Give up a push that is not complete."""
        self._replicas.forget(replicate_request(RequestHead.of_request(request.env)))
        response.status = falcon.HTTP_204

    def _receive(self, request: falcon.Request, asked: ReplicateRequest) -> Reached:
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

        with self._metrics.upload("replicate") as timer:
            sending = Sending(
                asked, lambda receiving: _body(request, asked, receiving), interrupt, timer
            )
            try:
                return self._replicas.receive(sending)
            except ProblemError as problem:
                if problem.slug == "body-cut" and ended.is_set():
                    raise ProblemError(
                        "upload-locked", "a newer request has taken over: ask it for the offset"
                    ) from None
                raise


def _describe(reached: Reached, response: falcon.Response) -> None:
    response.set_header("Upload-Offset", str(reached.offset))
    response.set_header("Upload-Complete", "?0" if reached.stored is None else "?1")
    response.set_header("Cache-Control", "no-store")
    if reached.stored is not None:
        response.set_header("Repr-Digest", format_repr_digest(reached.stored.sha256))


def _body(request: falcon.Request, asked: ReplicateRequest, receiving: Receiving) -> Body:
    return SizedBody(request.env, asked.length, receiving) if asked.length else EmptyBody()
