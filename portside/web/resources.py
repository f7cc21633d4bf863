"""The resources that every service of ours has: is it alive, its numbers, its description."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from typing import TypeVar

import falcon
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from portside.web.openapi import JsonObject

_Resource = TypeVar("_Resource")


def answers_head(resource: type[_Resource]) -> type[_Resource]:
    """A resource that answers HEAD wherever it answers GET (RFC 9110, section 9.1).

    falcon leaves the body out.
    """
    for name in [name for name in dir(resource) if name.startswith("on_get")]:
        as_head = name.replace("on_get", "on_head", 1)
        if not hasattr(resource, as_head):
            setattr(resource, as_head, getattr(resource, name))
    return resource


@answers_head
class Live:
    """`/health/live`: the process answers, that is all it says."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """204."""
        response.status = falcon.HTTP_204


@answers_head
class MetricsPage:
    """`/metrics`: every instrument and every reading, in Prometheus's text format."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The numbers as of now."""
        response.content_type = CONTENT_TYPE_PLAIN_0_0_4
        response.set_header("Cache-Control", "no-store")
        response.data = generate_latest(self._registry)


@answers_head
class Description:
    """`/openapi.json`: one document for as long as the process lives.

    It is written when somebody asks for it: that takes a processor a tenth of a second, which a
    node that starts has better uses for.
    """

    def __init__(self, written: Callable[[], JsonObject]) -> None:
        """`written` makes the document, once every route is there, this one's as well."""
        self._written = written
        self._writing = threading.Lock()
        self._kept: tuple[str, str] | None = None

    def _text_and_etag(self) -> tuple[str, str]:
        with self._writing:
            if self._kept is None:
                text = json.dumps(self._written(), separators=(",", ":"))
                self._kept = text, hashlib.sha256(text.encode()).hexdigest()[:32]
            return self._kept

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The document, or 304."""
        text, etag = self._text_and_etag()
        response.etag = etag
        # A new release may bring a new one: a few minutes are soon over.
        response.set_header("Cache-Control", "public, max-age=300")
        if request.if_none_match and any(
            each == "*" or each == etag for each in request.if_none_match
        ):
            response.status = falcon.HTTP_304
            return
        response.content_type = falcon.MEDIA_JSON
        response.text = text
