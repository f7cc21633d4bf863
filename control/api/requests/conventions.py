"""What holds for every request, whichever resource it is for: how a path and a query are read.

Base URLs that end in a slash make paths with two, some clients end every path with one: both mean
what they would without. A parameter that no one reads would change nothing and seem heard, so it is
refused.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import falcon

from control.problems import ProblemError, Slug
from portside.web.openapi import Operations
from portside.wire.spellings import shown

_API = "/api/"

_SLASHES = re.compile("/{2,}")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class Conventions:
    """A falcon middleware."""

    def __init__(self, operations: Operations[Slug]) -> None:
        self._without_query = {
            route
            for route, operation in operations.items()
            if not any(each.place == "query" for each in operation.parameters)
        }

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        """Before its resource is looked for: the path in its one spelling."""
        path = _SLASHES.sub("/", request.path)
        if path.startswith(_API):
            if _CONTROL_CHARACTERS.search(path):
                # PostgreSQL takes no NUL in what it is asked for.
                raise ProblemError("not-found", "no path here has control characters")
            path = path.rstrip("/")
        request.path = path

    def process_resource(
        self, request: falcon.Request, response: falcon.Response, resource: Any, params: Any
    ) -> None:
        """Before its resource is asked: parameters where none is read are refused."""
        # As the description has it: there a parameter doesn't tell that it may have slashes.
        route = (request.method, (request.uri_template or "").replace(":path}", "}"))
        if route not in self._without_query or not route[1].startswith(_API) or not request.params:
            return
        unknown = ", ".join(shown(name) for name in sorted(request.params))
        raise ProblemError(
            "malformed-request",
            f"{unknown}: {request.method} {route[1]} has no query parameters: leave them out",
        )

    def process_response(
        self, request: falcon.Request, response: falcon.Response, resource: Any, req_succeeded: bool
    ) -> None:
        """Falcon's answer to OPTIONS says all in its headers: 204, as nodes do."""
        if request.method == "OPTIONS" and response.status_code == HTTPStatus.OK:
            response.status = falcon.HTTP_204
            response.delete_header("Content-Length")
