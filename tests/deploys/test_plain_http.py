"""HTTP without TLS: who only reads is led on, and whoever sends something hears what is wrong."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from tests.support import nginx_process
from tests.support.deploys.nodes import MakeNode
from tests.support.nginx_process import Nginx

UPLOAD = "/api/internal/upload/a.iso"


@pytest.fixture
def nginx(make_node: MakeNode, tmp_path: Path) -> Iterator[Nginx]:
    running = Nginx(nginx_process.write(configuration(make_node()), tmp_path))
    yield running
    running.stop()


def _ask(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str = ""
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def test_plain_http_leads_to_https_unless_something_came_in_the_clear(nginx: Nginx) -> None:
    """301 is what clients from before 2014 know: wget 1.x, Java, what is built into devices."""
    for method, status in (("GET", 301), ("HEAD", 301), ("DELETE", 308), ("POST", 308)):
        answer, _ = _ask(nginx.http_port, method, "/uploads/a%20b.iso?x=1")
        assert (answer.status, answer.headers["Location"]) == (
            status,
            "https://s01.portside.test/uploads/a%20b.iso?x=1",
        )
    bearer = {"Authorization": "Bearer token"}
    for method, headers, sent in (
        ("PUT", {}, "body"),
        ("PUT", bearer, "body"),
        ("POST", {"Transfer-Encoding": "chunked"}, "0\r\n\r\n"),
        ("GET", bearer, ""),
        ("PATCH", bearer, ""),
    ):
        answer, body = _ask(nginx.http_port, method, UPLOAD, headers, sent)
        assert (answer.status, answer.headers["Location"]) == (403, None)
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem = json.loads(body)
        assert problem["type"] == "urn:portside:problem:https-required"
        assert "https://s01.portside.test" in problem["detail"]
    # To the port of HTTPS itself.
    answer, body = _ask(nginx.https_port, "PUT", UPLOAD, bearer, "body")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(body)["type"] == "urn:portside:problem:https-required"
