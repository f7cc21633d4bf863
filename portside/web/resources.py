"""The resources that every service of ours has: is it alive, its numbers, its description."""

from __future__ import annotations

import hashlib
import json

import falcon
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from portside.web.openapi import JsonObject


class Live:
    """`/health/live`: the process answers, that is all it says."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """204."""
        response.status = falcon.HTTP_204


class MetricsPage:
    """`/metrics`: every instrument and every reading, in Prometheus's text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The numbers as of now."""
        response.content_type = CONTENT_TYPE_PLAIN_0_0_4
        response.set_header("Cache-Control", "no-store")
        response.data = generate_latest(self._registry)


class Description:
    """`/openapi.json`: one document for as long as the process lives."""

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
