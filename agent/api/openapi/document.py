"""The API's description of itself (OpenAPI 3.1), assembled from the app's own routes.

Bodies are the pydantic models that the handlers answer with; problems come from the table of slugs.
What only people know of an operation stands in `agent.api.openapi.operations`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal

import falcon
from falcon.inspect import inspect_routes
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from agent.problems import ProblemError, Slug
from portside.wire.problem import PROBLEM_PREFIX, Problem

JsonObject = dict[str, Any]

PROBLEM_TYPE = "application/problem+json"
_MODELS = "#/components/schemas/{model}"

Token = Literal["upload", "access", "download", "replicate", "none"]

_SECURITY: dict[Token, JsonObject] = {
    "upload": {"uploadToken": []},
    "access": {"accessToken": []},
    "download": {"downloadToken": []},
    "replicate": {"replicateToken": []},
    "none": {},
}
_SCHEMES: JsonObject = {
    "uploadToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An `upload+jwt` for one file on this node.",
    },
    "accessToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An `access+jwt` with the right that the operation needs.",
    },
    "replicateToken": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A `replicate+jwt` for one file, signed by the node that sends it.",
    },
    "downloadToken": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "A `download+jwt` for one path.",
    },
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, a query's or a path's parameter, as it is validated."""

    place: Literal["header", "query", "path"]
    name: str
    schema: JsonObject
    description: str = ""
    required: bool = False

    def document(self) -> JsonObject:
        """A Parameter Object."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "schema": self.schema,
            **({"description": self.description} if self.description else {}),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: what its body is; headers beside the common ones, by name with their meaning."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str = falcon.MEDIA_JSON
    schema: JsonObject | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> JsonObject:
        """A Response Object."""
        document: JsonObject = {"description": self.description, "headers": _headers(self.headers)}
        if self.model is not None:
            reference = {"$ref": _MODELS.format(model=self.model.__name__)}
            document["content"] = {self.media_type: {"schema": reference}}
        elif self.schema is not None:
            document["content"] = {self.media_type: {"schema": self.schema}}
        return document


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `problems` are those beside the ones that any request may hear."""

    tag: str
    summary: str
    answers: Mapping[int, Answer]
    problems: Iterable[Slug] = ()
    tokens: tuple[Token, ...] = ("none",)
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, JsonObject] | None = None
    body_required: bool = True

    @property
    def models(self) -> set[type[BaseModel]]:
        """The models of its answers."""
        return {answer.model for answer in self.answers.values() if answer.model is not None}


Operations = Mapping[tuple[str, str], Operation]
"""By method and path."""

_ANYWHERE: tuple[Slug, ...] = ("malformed-request", "rate-limited", "internal-error")


def routes(app: falcon.App[Any, Any]) -> set[tuple[str, str]]:
    """Method and path of whatever a client may ask for."""
    return {
        (method.method, route.path.replace(":path}", "}"))
        for route in inspect_routes(app)
        for method in route.methods
        # falcon's own answers to OPTIONS and to methods that aren't there; nginx's questions.
        if not method.internal and not route.path.startswith("/internal/")
    }


def document(app: falcon.App[Any, Any], operations: Operations, version: str) -> JsonObject:
    """The whole OpenAPI document: of every route that has a description."""
    paths: dict[str, JsonObject] = {}
    models: set[type[BaseModel]] = {Problem}
    described = routes(app) & operations.keys()
    for method, path in sorted(described, key=lambda route: (route[1], route[0])):
        operation = operations[method, path]
        models |= operation.models
        paths.setdefault(path, {})[method.lower()] = _operation(operation, method, path)
    _, definitions = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_MODELS,
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Portside storage node",
            "version": version,
            "description": "Files straight to the node that keeps them, and back.",
        },
        "paths": paths,
        "components": {"schemas": definitions["$defs"], "securitySchemes": _SCHEMES},
    }


def _operation(operation: Operation, method: str, path: str) -> JsonObject:
    words = [word.strip("{}").replace("_", "-") for word in path.split("/") if word]
    document: JsonObject = {
        "operationId": "-".join([method.lower(), *words]),
        "tags": [operation.tag],
        "summary": operation.summary,
        "security": [_SECURITY[token] for token in operation.tokens],
        "responses": {
            **{str(status): answer.document() for status, answer in operation.answers.items()},
            **_problems({*operation.problems, *_ANYWHERE}, method),
        },
    }
    if operation.parameters:
        document["parameters"] = [parameter.document() for parameter in operation.parameters]
    if operation.body is not None:
        document["requestBody"] = {
            "required": operation.body_required,
            "content": {kind: {"schema": schema} for kind, schema in operation.body.items()},
        }
    return document


def _problems(slugs: set[Slug], method: str) -> JsonObject:
    """Responses of refusals: one for each status, with the types that have it."""
    by_status: dict[int, list[Slug]] = {}
    for slug in sorted(slugs):
        by_status.setdefault(int(ProblemError(slug, "").status), []).append(slug)
    return {
        str(status): _problem(status, alike, method) for status, alike in sorted(by_status.items())
    }


def _problem(status: int, slugs: list[Slug], method: str) -> JsonObject:
    document: JsonObject = {
        "description": f"{_phrase(status)}: {', '.join(slugs)}.",
        "headers": _headers(_HEADERS_OF_STATUS.get(status, {})),
    }
    # An answer to HEAD has no body (RFC 9110, section 9.3.2).
    if method != "HEAD":
        schema = {
            "$ref": _MODELS.format(model=Problem.__name__),
            "properties": {
                "type": {"enum": [PROBLEM_PREFIX + slug for slug in slugs]},
                "status": {"const": status},
            },
        }
        document["content"] = {PROBLEM_TYPE: {"schema": schema}}
    return document


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        # tus has a status of its own.
        return "Checksum mismatch"


_HEADERS_OF_STATUS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "How to say who you are."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}


def _headers(own: Mapping[str, str]) -> JsonObject:
    every = {**own, "X-Request-ID": "What the node's logs have about this request."}
    return {
        name: {"description": meaning, "schema": {"type": "string"}, "required": True}
        for name, meaning in every.items()
    }
