"""The description that is assembled from routes, operations and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import falcon
import pytest
from pydantic import BaseModel, Field

from portside.web.openapi import (
    ANYONE,
    Answer,
    Api,
    Operation,
    Operations,
    Parameter,
    SecurityScheme,
    query_parameters,
)
from portside.web.openapi_document import document, routes
from portside.web.problems import BaseProblemError, SharedSlug

OwnSlug = Literal["key-missing", "full", "odd"]
Slug = SharedSlug | OwnSlug


class ProblemError(BaseProblemError[OwnSlug]):
    """Of a service that keeps boxes."""

    retry_after = 7
    statuses: ClassVar[Mapping[OwnSlug, int]] = {"full": 503, "odd": 460}


class Box(BaseModel):
    """A box."""

    size: int


class BoxQuery(BaseModel):
    """Which boxes."""

    size: int | None = Field(default=None, ge=1, description="Litres.")
    owner: str = ""


class Resource:
    """Whatever is asked."""

    def on_get(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        """Nothing."""

    def on_head(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        """Nothing."""

    def on_post(self, request: falcon.Request, response: falcon.Response, **path: str) -> None:
        """Nothing."""


KEY: SecurityScheme[Slug] = SecurityScheme(
    "key", {"type": "http", "scheme": "bearer"}, problems=("key-missing",)
)
API: Api[Slug] = Api(
    title="Boxes",
    description="Boxes that are kept.",
    schemes=(KEY,),
    problem_type=ProblemError,
    problems=("malformed-request",),
    security=(KEY,),
    headers={"X-Request-ID": "In the log."},
    problem_headers={503: {"Retry-After": "Seconds."}},
    phrases={460: "Odd"},
)
ONE = "/boxes/{box_id}"


@pytest.fixture
def app() -> falcon.App[Any, Any]:
    app = falcon.App()
    for path in ("/boxes", ONE, "/lids/{name:path}", "/internal/question"):
        app.add_route(path, Resource())
    return app


def described(app: falcon.App[Any, Any], operations: Operations[Slug]) -> dict[str, Any]:
    return document(app, API, operations, "1.2")


def test_routes_are_what_a_client_may_ask_for(app: falcon.App[Any, Any]) -> None:
    paths = ("/boxes", ONE, "/lids/{name}")
    assert routes(app) == {(method, path) for path in paths for method in ("GET", "HEAD", "POST")}


def test_the_document_says_whose_it_is_and_has_the_described_routes_only(
    app: falcon.App[Any, Any],
) -> None:
    found = described(
        app,
        {
            ("GET", "/boxes"): Operation("boxes", "All", {204: None}),
            ("GET", "/nowhere"): Operation("boxes", "None", {204: None}),
        },
    )
    assert found["info"] == {
        "title": "Boxes",
        "version": "1.2",
        "description": "Boxes that are kept.",
    }
    assert list(found["paths"]) == ["/boxes"]
    assert found["components"]["securitySchemes"] == {"key": KEY.document}
    assert found["paths"]["/boxes"]["get"]["operationId"] == "get-boxes"


def test_answers_are_models_schemas_or_nothing(app: falcon.App[Any, Any]) -> None:
    operation: Operation[Slug] = Operation(
        "boxes",
        "All",
        {
            200: Box,
            201: Answer("Made.", Box, headers={"Location": "Where."}),
            206: Answer("Some.", media_type="text/plain", schema={"type": "string"}),
            204: None,
        },
    )
    found = described(app, {("GET", "/boxes"): operation})
    answers = found["paths"]["/boxes"]["get"]["responses"]
    reference = {"application/json": {"schema": {"$ref": "#/components/schemas/Box"}}}
    assert answers["200"]["description"] == "OK"
    assert answers["200"]["content"] == answers["201"]["content"] == reference
    assert set(answers["201"]["headers"]) == {"Location", "X-Request-ID"}
    assert answers["206"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    assert "content" not in answers["204"]
    assert {"Box", "Problem"} <= set(found["components"]["schemas"])


def test_problems_are_by_status_with_those_of_the_api_and_of_its_keys(
    app: falcon.App[Any, Any],
) -> None:
    operation: Operation[Slug] = Operation(
        "boxes", "All", {204: None}, ("full", "odd", "token-expired")
    )
    answers = described(app, {("GET", "/boxes"): operation})["paths"]["/boxes"]["get"]["responses"]
    assert list(answers) == ["204", "400", "401", "460", "503"]
    assert answers["401"]["description"] == "Unauthorized: key-missing, token-expired."
    assert answers["460"]["description"] == "Odd: odd."
    assert set(answers["503"]["headers"]) == {"Retry-After", "X-Request-ID"}
    properties = answers["503"]["content"]["application/problem+json"]["schema"]["properties"]
    assert properties == {
        "type": {"enum": ["urn:portside:problem:full"]},
        "status": {"const": 503},
    }


def test_a_refused_head_has_no_body(app: falcon.App[Any, Any]) -> None:
    operation: Operation[Slug] = Operation("boxes", "Is it there?", {204: None})
    found = described(app, {("HEAD", "/boxes"): operation})
    assert "content" not in found["paths"]["/boxes"]["head"]["responses"]["400"]


@pytest.mark.parametrize(
    ("security", "expected"),
    [(None, [{"key": []}]), ((ANYONE,), [{}]), ((ANYONE, KEY), [{}, {"key": []}])],
)
def test_who_may_ask_is_the_operations_own_or_the_apis(
    app: falcon.App[Any, Any], security: Any, expected: list[dict[str, Any]]
) -> None:
    operation: Operation[Slug] = Operation("boxes", "All", {204: None}, security=security)
    found = described(app, {("GET", "/boxes"): operation})["paths"]["/boxes"]["get"]
    assert found["security"] == expected
    assert ("401" in found["responses"]) == ({"key": []} in expected)


def test_a_paths_parameter_is_any_text_unless_it_is_described(app: falcon.App[Any, Any]) -> None:
    own = Parameter("path", "box_id", {"type": "integer"}, "Its number.")
    for parameters, schema in (((), {"type": "string"}), ((own,), {"type": "integer"})):
        operation: Operation[Slug] = Operation("boxes", "One", {204: None}, parameters=parameters)
        (found,) = described(app, {("GET", ONE): operation})["paths"][ONE]["get"]["parameters"]
        assert (found["name"], found["in"], found["required"]) == ("box_id", "path", True)
        assert found["schema"] == schema


def test_a_query_is_described_by_its_model() -> None:
    size, owner = query_parameters(BoxQuery)
    assert size.document() == {
        "name": "size",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
        "description": "Litres.",
    }
    assert "description" not in owner.document()
    assert query_parameters(BoxQuery, undescribed="")[1].document()["description"] == ""


def test_a_body_is_a_model_or_schemas_by_media_type(app: falcon.App[Any, Any]) -> None:
    text = {"type": "string"}
    operations: Operations[Slug] = {
        ("POST", "/boxes"): Operation("boxes", "Make one", {204: None}, body=Box),
        ("POST", ONE): Operation(
            "boxes", "Fill it", {204: None}, body={"text/plain": text}, body_required=False
        ),
    }
    paths = described(app, operations)["paths"]
    assert paths["/boxes"]["post"]["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Box"}}},
    }
    assert paths[ONE]["post"]["requestBody"] == {
        "required": False,
        "content": {"text/plain": {"schema": text}},
    }
