"""`/api/internal/upload`: a whole file in one request, as a form (POST) or as it is (PUT)."""

from __future__ import annotations

from typing import Any

import falcon

from agent import facts
from agent.body import FORM_SHARE, Body, ChunkedBody, FormFile, SizedBody
from agent.health import NodeHealth
from agent.preflight import Preflight
from agent.problems import ProblemError
from agent.write_path import WritePath

_UPLOADING = ("POST", "PUT")


class Upload:
    """Stores the body, answers 201 with where it is and the node's receipt."""

    def __init__(self, preflight: Preflight, write_path: WritePath, health: NodeHealth) -> None:
        self._preflight = preflight
        self._write_path = write_path
        self._health = health

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
        response.set_header("Allow", "POST, PUT, HEAD, OPTIONS")

    def on_head_named(self, request: falcon.Request, response: falcon.Response, name: str) -> None:
        """See on_head."""
        self.on_head(request, response)

    def on_options_named(
        self, request: falcon.Request, response: falcon.Response, name: str
    ) -> None:
        """See on_options."""
        self.on_options(request, response)

    def _store(self, request: falcon.Request, response: falcon.Response) -> None:
        try:
            asked = facts.from_request(request.env)
            plan = self._preflight.check(asked)
            stored = self._write_path.store(plan, lambda: self._body(request.env, asked))
        except ProblemError as problem:
            self._health.count_failure(problem.slug)
            raise
        response.status = falcon.HTTP_201
        response.location = stored.url
        response.content_type = falcon.MEDIA_JSON
        response.text = stored.model_dump_json()

    def _body(self, environ: dict[str, Any], asked: facts.UploadFacts) -> Body:
        length = asked.length
        body: Body = ChunkedBody(environ) if length is None else SizedBody(environ, length)
        if asked.boundary is None:
            return body
        piece = self._write_path.settings.sizing.ring_buffer // FORM_SHARE
        return FormFile(body, asked.boundary, piece)


class PreflightProbe:
    """nginx's question before a body is read: 204 lets it in, 403 sends it to `Refusal`.

    auth_request knows no other refusals than 401 and 403 (ngx_http_auth_request_module).
    """

    def __init__(self, preflight: Preflight) -> None:
        self._preflight = preflight

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Decide about the request that the `X-Original-*` headers tell of."""
        try:
            asked = facts.from_preflight(request.env)
            if asked.method in _UPLOADING:
                self._preflight.check(asked)
            response.status = falcon.HTTP_204
        except ProblemError:
            response.status = falcon.HTTP_403


class Refusal:
    """Why an upload was refused: the same question again, answered in full."""

    def __init__(self, preflight: Preflight) -> None:
        self._preflight = preflight

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Raise the problem. If it has gone in between, the client is asked to try again."""
        self._preflight.check(facts.from_preflight(request.env))
        raise ProblemError("no-slot", "the node was full a moment ago: try again")

    # nginx keeps the original request's method when it redirects to the refusal.
    on_post = on_get
    on_put = on_get
