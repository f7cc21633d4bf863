"""HTTP without TLS: who only reads is led on, and whoever sends something hears what is wrong."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys import layout
from deploys.components.nginx import configuration
from portside.cluster.file import parse
from portside.wire.problem import PROBLEM_PREFIX
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
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


def test_an_authority_finds_its_challenges_without_tls_and_nobody_finds_anything_else(
    make_node: MakeNode, tmp_path: Path
) -> None:
    cluster = parse(CLUSTER + "tls: {mode: acme, email: ops@portside.test}\n")
    text = configuration(make_node(cluster=cluster))
    assert layout.ACME_WEBROOT in text
    text = text.replace(layout.ACME_WEBROOT, str(tmp_path / "webroot"))
    challenges = "/.well-known/acme-challenge"
    folder = tmp_path / "webroot" / challenges.lstrip("/")
    folder.mkdir(parents=True)
    (folder / "token").write_text("token.thumbprint")
    nginx = Nginx(nginx_process.write(text, tmp_path))
    try:
        answer, body = _ask(nginx.http_port, "GET", f"{challenges}/token")
        assert (answer.status, body) == (200, b"token.thumbprint")
        assert answer.headers["Content-Type"] == "text/plain"
        for method, path in (
            ("GET", f"{challenges}/other"),
            ("GET", f"{challenges}/"),
            ("POST", f"{challenges}/token"),
        ):
            answer, body = _ask(nginx.http_port, method, path)
            assert (answer.status, json.loads(body)["type"]) == (404, PROBLEM_PREFIX + "not-found")
        for path in ("/", "/.well-known/other", f"{challenges}/../../etc/passwd", "/token"):
            answer, _ = _ask(nginx.http_port, "GET", path)
            assert answer.status == 301
        answer, _ = _ask(nginx.http_port, "PUT", UPLOAD, {"Authorization": "Bearer token"}, "body")
        assert answer.status == 403
    finally:
        nginx.stop()
