"""An API's description of itself (OpenAPI 3.1), assembled from the app's own routes.

Bodies are the pydantic models that handlers answer with and read; problems come from the service's
table of slugs. What only people know of an operation each service writes down as an `Operation` by
method and path, and of itself as an `Api`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar

import falcon
from falcon.inspect import inspect_routes
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from portside.web.problems import PROBLEM_TYPE, BaseProblemError
from portside.wire.problem import PROBLEM_PREFIX, Problem

JsonObject = dict[str, Any]

Slug = TypeVar("Slug", bound=str)
"""Every slug of one service."""

_MODELS = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, a query's or a path's parameter, as it is validated."""

    place: Literal["header", "query", "path"]
    name: str
    schema: JsonObject
    description: str | None = None
    required: bool = False

    def document(self) -> JsonObject:
        """A Parameter Object."""
        return {
            "name": self.name,
            "in": self.place,
            "required": self.required or self.place == "path",
            "schema": self.schema,
            **({} if self.description is None else {"description": self.description}),
        }


def query_parameters(
    model: type[BaseModel], undescribed: str | None = None
) -> tuple[Parameter, ...]:
    """The parameters that a query's model validates, from its own schema.

    One whose field has no description gets `undescribed`.
    """
    parameters = []
    for name, schema in model.model_json_schema()["properties"].items():
        # Whether a parameter may be left out isn't part of its value's schema.
        kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
        known = ("default", "title", "description", "anyOf")
        plain = {key: value for key, value in kinds[0].items() if key not in known}
        parameters.append(Parameter("query", name, plain, schema.get("description", undescribed)))
    return tuple(parameters)


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: what its body is; headers beside the common ones, by name with their meaning."""

    description: str
    model: type[BaseModel] | None = None
    media_type: str = falcon.MEDIA_JSON
    schema: JsonObject | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> JsonObject | None:
        """The schema of its body, if it has one."""
        return self.schema if self.model is None else _reference(self.model)


@dataclass(frozen=True, slots=True)
class SecurityScheme(Generic[Slug]):
    """A way to say who asks: its name, its Security Scheme Object, and how it may be refused."""

    name: str
    document: JsonObject
    problems: tuple[Slug, ...] = ()


ANYONE = None
"""Among the schemes of which one is needed: nobody has to say who asks."""


@dataclass(frozen=True, slots=True)
class Operation(Generic[Slug]):
    """One method of one path. `problems` are those beside the ones that any request may hear.

    Of its `answers` a model alone is sent as JSON, and None has no body; the status says what they
    are. `security` holds the schemes of which one is needed; without it the API's own apply. A
    path's parameter that isn't in `parameters` is any text. `body` is a model for JSON, or a schema
    by media type.
    """

    tag: str
    summary: str
    answers: Mapping[int, Answer | type[BaseModel] | None]
    problems: Iterable[Slug] = ()
    security: Sequence[SecurityScheme[Slug] | None] | None = None
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | Mapping[str, JsonObject] | None = None
    body_required: bool = True

    def full_answers(self) -> Mapping[int, Answer]:
        """Its answers with nothing left out."""
        return {
            status: answer
            if isinstance(answer, Answer)
            else Answer(HTTPStatus(status).phrase, answer)
            for status, answer in self.answers.items()
        }

    @property
    def answered_models(self) -> set[type[BaseModel]]:
        """The models of its answers."""
        answers = self.full_answers().values()
        return {answer.model for answer in answers if answer.model is not None}

    @property
    def body_model(self) -> type[BaseModel] | None:
        """The model of its request's body, if that is one."""
        return self.body if isinstance(self.body, type) else None


Operations = Mapping[tuple[str, str], Operation[Slug]]
"""By method and path."""


@dataclass(frozen=True, slots=True)
class Api(Generic[Slug]):
    """What holds for all operations of one service.

    `problems` are those that any request may hear, `headers` those of every answer, and
    `problem_headers` those of refusals with a status: by name with their meaning. `phrases` are for
    statuses that HTTP doesn't know.
    """

    title: str
    description: str
    schemes: tuple[SecurityScheme[Slug], ...]
    problem_type: type[BaseProblemError[Any]]
    problems: tuple[Slug, ...]
    security: Sequence[SecurityScheme[Slug] | None] = (ANYONE,)
    headers: Mapping[str, str] = field(default_factory=dict)
    problem_headers: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    phrases: Mapping[int, str] = field(default_factory=dict)


def routes(app: falcon.App[Any, Any]) -> set[tuple[str, str]]:
    """Method and path of whatever a client may ask for."""
    return {
        (method.method, route.path.replace(":path}", "}"))
        for route in inspect_routes(app)
        for method in route.methods
        # falcon's own answers to OPTIONS and to methods that aren't there; nginx's questions.
        if not method.internal and not route.path.startswith("/internal/")
    }


def document(
    app: falcon.App[Any, Any], api: Api[Slug], operations: Operations[Slug], version: str
) -> JsonObject:
    """The whole OpenAPI document: of every route that has a description."""
    paths: dict[str, JsonObject] = {}
    answered: set[type[BaseModel]] = {Problem}
    bodies: set[type[BaseModel]] = set()
    described = routes(app) & operations.keys()
    for method, path in sorted(described, key=lambda route: (route[1], route[0])):
        operation = operations[method, path]
        answered |= operation.answered_models
        if operation.body_model is not None:
            bodies.add(operation.body_model)
        paths.setdefault(path, {})[method.lower()] = _Writer(api).operation(operation, method, path)
    models = sorted(answered | bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation" if model in bodies else "serialization") for model in models],
        ref_template=_MODELS,
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": api.title, "version": version, "description": api.description},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {scheme.name: scheme.document for scheme in api.schemes},
        },
    }


@dataclass(frozen=True, slots=True)
class _Writer(Generic[Slug]):
    """Operations of one API as OpenAPI's objects."""

    api: Api[Slug]

    def operation(self, operation: Operation[Slug], method: str, path: str) -> JsonObject:
        """An Operation Object."""
        words = [word.strip("{}").replace("_", "-") for word in path.split("/") if word]
        security = self.api.security if operation.security is None else operation.security
        document: JsonObject = {
            "operationId": "-".join([method.lower(), *words]),
            "tags": [operation.tag],
            "summary": operation.summary,
            "security": [{} if scheme is None else {scheme.name: []} for scheme in security],
            "responses": {
                **{
                    str(status): self._answer(answer)
                    for status, answer in operation.full_answers().items()
                },
                **self._problems(
                    {
                        *operation.problems,
                        *self.api.problems,
                        *(slug for scheme in security if scheme for slug in scheme.problems),
                    },
                    method,
                ),
            },
        }
        parameters = [*_undescribed(path, operation.parameters), *operation.parameters]
        if parameters:
            document["parameters"] = [parameter.document() for parameter in parameters]
        if operation.body is not None:
            document["requestBody"] = {
                "required": operation.body_required,
                "content": _body(operation.body),
            }
        return document

    def _answer(self, answer: Answer) -> JsonObject:
        content = None if answer.content is None else {answer.media_type: answer.content}
        return _response(answer.description, {**answer.headers, **self.api.headers}, content)

    def _problems(self, slugs: set[Slug], method: str) -> JsonObject:
        """Responses of refusals: one for each status, with the types that have it."""
        by_status: dict[int, list[Slug]] = {}
        for slug in sorted(slugs):
            by_status.setdefault(self.api.problem_type(slug, "").status, []).append(slug)
        return {
            str(status): self._problem(status, alike, method)
            for status, alike in sorted(by_status.items())
        }

    def _problem(self, status: int, slugs: list[Slug], method: str) -> JsonObject:
        phrase = self.api.phrases.get(status) or HTTPStatus(status).phrase
        headers = {**self.api.problem_headers.get(status, {}), **self.api.headers}
        schema = {
            **_reference(Problem),
            "properties": {
                "type": {"enum": [PROBLEM_PREFIX + slug for slug in slugs]},
                "status": {"const": status},
            },
        }
        # An answer to HEAD has no body (RFC 9110, section 9.3.2).
        content = None if method == "HEAD" else {PROBLEM_TYPE: schema}
        return _response(f"{phrase}: {', '.join(slugs)}.", headers, content)


def _undescribed(path: str, parameters: Iterable[Parameter]) -> Iterator[Parameter]:
    """The parameters of a path that nobody has described."""
    described = {each.name for each in parameters if each.place == "path"}
    for word in path.split("/"):
        if word.startswith("{") and word.strip("{}") not in described:
            yield Parameter("path", word.strip("{}"), {"type": "string"})


def _response(
    description: str, headers: Mapping[str, str], content: Mapping[str, JsonObject] | None
) -> JsonObject:
    """A Response Object; `content` holds schemas by media type."""
    document: JsonObject = {"description": description}
    if headers:
        document["headers"] = {
            name: {"description": meaning, "schema": {"type": "string"}, "required": True}
            for name, meaning in headers.items()
        }
    if content is not None:
        document["content"] = _content(content)
    return document


def _body(body: type[BaseModel] | Mapping[str, JsonObject]) -> JsonObject:
    if isinstance(body, type):
        return _content({falcon.MEDIA_JSON: _reference(body)})
    return _content(body)


def _content(schemas: Mapping[str, JsonObject]) -> JsonObject:
    return {media_type: {"schema": schema} for media_type, schema in schemas.items()}


def _reference(model: type[BaseModel]) -> JsonObject:
    return {"$ref": _MODELS.format(model=model.__name__)}
