"""`/openapi.json`: the API's description, as a document for programs."""

from __future__ import annotations

import hashlib
import json

import falcon

from agent.api.openapi.document import JsonObject


class Description:
    """One document for as long as the process lives."""

    def __init__(self) -> None:
        self._text = ""
        self._etag = ""

    def publish(self, document: JsonObject) -> None:
        """Take the document, once every route is there, this one's as well."""
        self._text = json.dumps(document, separators=(",", ":"))
        self._etag = hashlib.sha256(self._text.encode()).hexdigest()[:32]

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The document, or 304."""
        response.etag = self._etag
        # A new release may bring a new one: a few minutes are soon over.
        response.set_header("Cache-Control", "public, max-age=300")
        if request.if_none_match and any(
            each == "*" or each == self._etag for each in request.if_none_match
        ):
            response.status = falcon.HTTP_304
            return
        response.content_type = falcon.MEDIA_JSON
        response.text = self._text
