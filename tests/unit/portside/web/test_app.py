"""A service's app: errors become problems, requests are logged, common routes are there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import falcon
import falcon.testing
import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from portside.web.app import App, add_common_routes, new_app
from portside.web.openapi import Api, JsonObject, Operation, Operations
from portside.web.problems import BaseProblemError, SharedSlug
from portside.web.request_log import Answered, RequestLog
from portside.web.resources import Description
from portside.web.wrong_credentials import WrongCredentials

OwnSlug = Literal["full"]
Slug = SharedSlug | OwnSlug


class ProblemError(BaseProblemError[OwnSlug]):
    """Of a service that keeps boxes."""

    retry_after = 7
    statuses: ClassVar[Mapping[OwnSlug, int]] = {"full": 503}


class BoxLog(RequestLog):
    """A line for each request below /boxes."""

    def is_logged(self, answered: Answered) -> bool:
        return answered.path.startswith("/boxes")

    def measured(self, request: falcon.Request, seconds: float) -> dict[str, float]:
        return {"took": 1.0 if seconds >= 0 else -1.0}


WRONG = WrongCredentials(2, ProblemError)


class Boxes:
    """Each method ends in another way."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        response.status = falcon.HTTP_204

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        raise ProblemError("full", "no box is free", {"X-Boxes": "0"})

    def on_put(self, request: falcon.Request, response: falcon.Response) -> None:
        raise ZeroDivisionError("nobody has thought of it")

    def on_patch(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPUnsupportedMediaType(title="no such box", headers={"X-Boxes": "1"})

    def on_delete(self, request: falcon.Request, response: falcon.Response) -> None:
        raise falcon.HTTPInvalidHeader("It must be a number.", "X-Boxes")


API: Api[Slug] = Api(
    title="Boxes",
    description="Boxes that are kept.",
    schemes=(),
    problem_type=ProblemError,
    problems=("internal-error",),
)
OPERATIONS: Operations[Slug] = {("GET", "/boxes"): Operation("boxes", "Is it there?", {204: None})}


@pytest.fixture
def problems() -> list[str]:
    """The slugs that were counted."""
    return []


@pytest.fixture
def app(problems: list[str]) -> App:
    registry = CollectorRegistry()
    Counter("boxes", "Boxes.", registry=registry)
    app = new_app(BoxLog(problems.append), ProblemError, "the store", WRONG)
    app.add_route("/boxes", Boxes())
    add_common_routes(app, registry, API, OPERATIONS)
    return app


@pytest.fixture
def client(app: App) -> falcon.testing.TestClient:
    return falcon.testing.TestClient(app)


@pytest.mark.parametrize(
    ("method", "path", "status", "slug", "detail"),
    [
        ("POST", "/boxes", 503, "full", "no box is free"),
        ("PUT", "/boxes", 500, "internal-error", "the store failed; its log says why"),
        ("PATCH", "/boxes", 400, "malformed-request", "no such box"),
        (
            *("DELETE", "/boxes", 400, "malformed-request"),
            'The value provided for the "X-Boxes" header is invalid. It must be a number.',
        ),
        ("TRACE", "/boxes", 405, "method-not-allowed", "TRACE is not for this path"),
        ("GET", "/nowhere", 404, "not-found", "there is nothing at this path"),
    ],
)
def test_every_error_is_a_problem_and_is_counted(
    client: falcon.testing.TestClient,
    problems: list[str],
    method: str,
    path: str,
    status: int,
    slug: str,
    detail: str,
) -> None:
    answer = client.simulate_request(method, path)
    assert answer.status_code == answer.json["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["type"] == f"urn:portside:problem:{slug}"
    assert (answer.json["detail"], answer.json["instance"]) == (detail, path)
    assert problems == [slug]


def test_headers_of_a_problem_and_of_falcons_refusals_go_out(
    client: falcon.testing.TestClient,
) -> None:
    full = client.simulate_post("/boxes").headers
    assert (full["Retry-After"], full["X-Boxes"]) == ("7", "0")
    assert client.simulate_patch("/boxes").headers["X-Boxes"] == "1"
    assert "GET" in client.simulate_request("TRACE", "/boxes").headers["Allow"]


def test_an_unforeseen_error_is_in_the_log_with_its_trace(
    client: falcon.testing.TestClient,
) -> None:
    with capture_logs() as lines:
        client.simulate_put("/boxes")
    (line,) = (line for line in lines if line["event"] == "unforeseen error")
    assert isinstance(line["exc_info"], ZeroDivisionError)
    assert line["path"] == "/boxes"


def test_a_requests_line_says_how_it_was_answered(client: falcon.testing.TestClient) -> None:
    with capture_logs() as lines:
        client.simulate_get("/boxes")
        client.simulate_post("/boxes")
        client.simulate_get("/nowhere")
    common = {
        "event": "request answered",
        "log_level": "info",
        "path": "/boxes",
        "took": 1.0,
    }
    assert lines == [
        {**common, "method": "GET", "status": 204, "outcome": "ok"},
        {**common, "method": "POST", "status": 503, "outcome": "full"},
    ]


def test_an_answer_without_a_body_has_no_type(client: falcon.testing.TestClient) -> None:
    assert "Content-Type" not in client.simulate_get("/boxes").headers


def test_nginxs_id_is_kept_and_whoever_has_none_gets_one(
    client: falcon.testing.TestClient,
) -> None:
    def told(given: str) -> str:
        headers = {"X-Request-ID": given}
        return client.simulate_get("/boxes", headers=headers).headers["X-Request-ID"]

    assert told("ab" * 16) == "ab" * 16
    made = told("anything else")
    assert len(made) == 32
    assert made != told("anything else")


def test_what_every_service_has_is_there(client: falcon.testing.TestClient) -> None:
    assert client.simulate_get("/health/live").status_code == 204
    numbers = client.simulate_get("/metrics")
    assert "boxes_total 0.0" in numbers.text
    assert numbers.headers["Cache-Control"] == "no-store"
    description = client.simulate_get("/openapi.json")
    assert description.json["info"]["title"] == "Boxes"
    assert list(description.json["paths"]) == ["/boxes"]


def test_the_description_may_be_kept_and_asked_for_again(
    client: falcon.testing.TestClient,
) -> None:
    first = client.simulate_get("/openapi.json")
    assert first.headers["Cache-Control"] == "public, max-age=300"
    for known, status in ((first.headers["ETag"], 304), ("*", 304), ('"another"', 200)):
        again = client.simulate_get("/openapi.json", headers={"If-None-Match": known})
        assert again.status_code == status


def test_the_description_is_written_once_and_not_before_somebody_asks() -> None:
    written: list[str] = []

    def write() -> JsonObject:
        written.append("once")
        return {"openapi": "3.1.0"}

    app: App = falcon.App()
    app.add_route("/openapi.json", Description(write))
    client = falcon.testing.TestClient(app)
    assert written == []
    answers = [client.simulate_get("/openapi.json") for _ in range(2)]
    assert [answer.json for answer in answers] == [{"openapi": "3.1.0"}] * 2
    assert answers[0].headers["ETag"] == answers[1].headers["ETag"]
    assert written == ["once"]
