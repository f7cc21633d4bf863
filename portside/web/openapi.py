"""The words in which a service describes its API (OpenAPI 3.1): what only people know of it.

Each service writes down its operations, an `Operation` by method and path, and itself as an `Api`;
`portside.web.openapi_document` puts them together with the app's routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, Literal, TypeVar

import falcon
from pydantic import BaseModel

from portside.web.problems import BaseProblemError, RegisteredType

JsonObject = dict[str, Any]

Slug = TypeVar("Slug", bound=str)
"""Every slug of one service."""


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
    """One method of one path. `problems` are those beside the ones that any request may hear,
    `registered` those among them that have a type of a standard's, in the words of one protocol.

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
    registered: tuple[RegisteredType, ...] = ()

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
    statuses that HTTP doesn't know, or doesn't say enough of.
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
