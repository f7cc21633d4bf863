"""`/api/internal/upload`: a whole file in one request, as a form (POST) or as it is (PUT)."""

from __future__ import annotations

import json
from typing import Any

import falcon

from agent.dialects import draft
from agent.dialects.places import is_of_uploads, plain_path
from agent.dialects.request import resumable_request
from agent.incoming.body import Body, ChunkedBody, SizedBody
from agent.incoming.digests import checked
from agent.incoming.form import FORM_SHARE, FormFile
from agent.incoming.receiving import Receiving
from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError
from agent.replication.receiver import ReplicaReceiver
from agent.replication.request import replicate_request
from agent.resumable.service import ResumableUploads
from agent.telemetry.metrics import Metrics, Way
from agent.uploads.preflight import Preflight
from agent.uploads.request import UploadRequest, upload_request
from agent.uploads.write_path import WritePath
from portside.web.request_log import Answered
from portside.web.wrong_credentials import WrongCredentials
from portside.wire import paths

_UPLOADING = ("POST", "PUT")


class Upload:
    """Stores the body, answers 201 with where it is and the node's receipt."""

    def __init__(self, preflight: Preflight, write_path: WritePath, metrics: Metrics) -> None:
        self._preflight = preflight
        self._write_path = write_path
        self._metrics = metrics

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        """A multipart form with the file in its part `file`."""
        self._store(request, response)

    def on_put_named(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """The file itself, named by the URL (`curl -T`)."""
        self._store(request, response)

    def on_head(self, request: falcon.Request, response: falcon.Response) -> None:
        """Is the endpoint there? 204."""
        response.status = falcon.HTTP_204

    def on_options(self, request: falcon.Request, response: falcon.Response) -> None:
        """What may be done here; CORS headers are nginx's."""
        response.status = falcon.HTTP_204
        response.set_header("Allow", "POST, HEAD, OPTIONS")

    def on_head_named(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """See on_head."""
        self.on_head(request, response)

    def on_options_named(
        self, request: falcon.Request, response: falcon.Response, name: str
    ) -> None:
        """See on_options."""
        response.status = falcon.HTTP_204
        response.set_header("Allow", "PUT, HEAD, OPTIONS")

    def _store(self, request: falcon.Request, response: falcon.Response) -> None:
        with self._metrics.upload(_way(request.method)) as timer:
            with timer.phase("preflight"):
                asked = upload_request(RequestHead.of_request(request.env))
                plan = self._preflight.begin(asked)
            stored = self._write_path.store(
                plan, lambda receiving: self._body(request.env, asked, receiving), timer
            )
        # 200: the token had stored this very file before.
        response.status = falcon.HTTP_201 if plan.stored is None else falcon.HTTP_200
        response.location = stored.direct_url
        response.content_type = falcon.MEDIA_JSON
        response.text = stored.model_dump_json()

    def _body(self, environ: dict[str, Any], asked: UploadRequest, receiving: Receiving) -> Body:
        body: Body
        if asked.length is None:
            body = ChunkedBody(environ, receiving)
        else:
            body = SizedBody(environ, asked.length, receiving)
        if asked.boundary is None:
            return checked(body, asked.other_digests)
        piece = self._write_path.sizing.ring_buffer // FORM_SHARE
        form = checked(body, asked.content_digests)
        return FormFile(form, asked.boundary, piece, asked.other_digests)


class PreflightProbe:
    """nginx's question before a body is read: 204 lets it in, 403 keeps it out.

    auth_request knows no other refusals than 401 and 403 and drops their bodies
    (ngx_http_auth_request_module), so the real answer travels in headers and nginx gives it.
    """

    def __init__(
        self,
        preflight: Preflight,
        resumables: ResumableUploads,
        replicas: ReplicaReceiver,
        metrics: Metrics,
        wrong: WrongCredentials,
    ) -> None:
        self._preflight = preflight
        self._resumables = resumables
        self._replicas = replicas
        self._metrics = metrics
        self._wrong = wrong

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Decide about the request that the `X-Original-*` headers tell of."""
        response.status = falcon.HTTP_204
        head = RequestHead.of_question(request.env)
        try:
            self._check(head)
        except ProblemError as found:
            problem = self._wrong.judged(request, found)
            answered = Answered(head.method, head.path, problem.status, problem.slug)
            response.context.answered = answered
            response.status = falcon.HTTP_403
            response.set_headers(problem.headers)
            document = problem.document(head.path).model_dump(exclude_none=True)
            response.set_header("X-Refusal-Status", str(problem.status))
            # json escapes everything that isn't ASCII: a name in it must not break the header.
            response.set_header("X-Refusal", json.dumps(document))

    def _check(self, head: RequestHead) -> None:
        if is_of_uploads(plain_path(head.path)):
            with draft.refusals(head):
                self._resumables.check(resumable_request(head))
            return
        if head.path.startswith(f"{paths.REPLICATE}/"):
            self._replicas.check(replicate_request(head))
            return
        if head.method in _UPLOADING:
            # A refusal here is the upload's end: nginx gives it, and nothing else comes.
            with self._metrics.upload(_way(head.method)):
                self._preflight.check(upload_request(head))


def _way(method: str) -> Way:
    return "form" if method == "POST" else "put"
