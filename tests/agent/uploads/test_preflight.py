"""What nginx hears before it reads a body: go on, or the whole answer to give instead."""

from __future__ import annotations

import json

import pytest
import requests

from portside.quantities import GIB
from tests.support.agent.process import Agent


def _ask(agent: Agent, **facts: str) -> requests.Response:
    original = {
        "method": "PUT",
        "uri": "/api/internal/upload/a.bin",
        "content_length": "10",
        **facts,
    }
    headers = {f"X-Original-{name.replace('_', '-')}": value for name, value in original.items()}
    headers["Authorization"] = f"Bearer {agent.mint()}"
    return requests.get(f"{agent.url}/internal/preflight", headers=headers, timeout=60)


def test_an_upload_that_would_be_taken_goes_on(shared_agent: Agent) -> None:
    assert _ask(shared_agent).status_code == 204
    assert _ask(shared_agent, content_length="", transfer_encoding="chunked").status_code == 204
    form = "multipart/form-data; boundary=b"
    assert _ask(shared_agent, method="POST", content_type=form).status_code == 204


def test_questions_about_the_endpoint_go_on_without_a_token(shared_agent: Agent) -> None:
    for method in ("HEAD", "OPTIONS"):
        asked = requests.get(
            f"{shared_agent.url}/internal/preflight",
            headers={"X-Original-Method": method, "X-Original-URI": "/api/internal/upload"},
            timeout=60,
        )
        assert asked.status_code == 204


@pytest.mark.parametrize(
    ("facts", "status", "slug"),
    [
        ({"uri": "/api/internal/upload/a.html"}, 415, "type-refused"),
        ({"uri": "/api/internal/upload/%2e%2e%2fa.bin"}, 400, "name-refused"),
        ({"uri": "/api/internal/upload/%C3%BC%C3%BC.exe"}, 415, "type-refused"),
        ({"content_length": ""}, 411, "length-required"),
        ({"content_length": "many"}, 400, "malformed-request"),
        ({"content_length": str(100 * GIB)}, 413, "too-large"),
        ({"method": "POST"}, 400, "malformed-request"),
    ],
)
def test_a_refusal_carries_the_whole_answer_in_headers(
    shared_agent: Agent, facts: dict[str, str], status: int, slug: str
) -> None:
    refused = _ask(shared_agent, **facts)
    assert refused.status_code == 403
    assert refused.headers["X-Refusal-Status"] == str(status)
    problem = json.loads(refused.headers["X-Refusal"])
    assert (problem["status"], problem["type"]) == (status, f"urn:portside:problem:{slug}")
    assert problem["instance"] == facts.get("uri", "/api/internal/upload/a.bin")


def test_a_refusal_without_a_token_says_how_to_authenticate(shared_agent: Agent) -> None:
    refused = requests.get(
        f"{shared_agent.url}/internal/preflight",
        headers={
            "X-Original-Method": "PUT",
            "X-Original-URI": "/api/internal/upload/a.bin",
            "X-Original-Content-Length": "10",
        },
        timeout=60,
    )
    assert refused.headers["X-Refusal-Status"] == "401"
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
