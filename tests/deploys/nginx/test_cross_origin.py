"""What browsers let a page do that comes from elsewhere: CORS and its kin, as nginx answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.nginx_process import AgentDouble, Nginx, allowing, reply

ORIGIN = "https://app.portside.test"
UPLOAD = "/api/internal/upload"
PREFLIGHT = {"Access-Control-Request-Method": "PUT"}
ORIGINS = f"['{ORIGIN}', 'https://dev.portside.test:8443', 'https://*.preview.test', 'null']"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def agent(home: Path) -> Iterator[AgentDouble]:
    double = AgentDouble(home / "agent.sock")
    yield double
    double.close()


@pytest.fixture(scope="module")
def running(home: Path, agent: AgentDouble) -> Iterator[Nginx]:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = parse(CLUSTER.replace(f"['{ORIGIN}']", ORIGINS))
    node = StorageNode("s01", cluster, found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(node), home)
    (home / "data" / "uploads" / "a.bin").write_bytes(b"0123456789")
    nginx = Nginx(path)
    yield nginx
    nginx.stop()


@pytest.fixture
def nginx(running: Nginx, agent: AgentDouble) -> Nginx:
    """In front of an agent that allows everything, and has not been asked yet."""
    agent.answer = allowing
    agent.requests.clear()
    return running


@pytest.mark.parametrize(
    "asked",
    [
        # Dropzone and antd; axios behind Laravel, Django and Rails; htmx; Sentry; OpenTelemetry.
        "authorization,cache-control,x-requested-with",
        "content-type,x-csrftoken,x-xsrf-token,x-csrf-token",
        "hx-current-url,hx-request,hx-target,hx-trigger",
        "baggage,sentry-trace,traceparent,tracestate",
        "tus-resumable,upload-length,upload-metadata,x-request-id,x-http-method-override",
        "content-disposition,content-range,digest,idempotency-key,if-match,prefer,upload-incomplete",
        "Authorization, Range, If-Range",
        "x!#$%&'*+.^_`|~9",
    ],
)
def test_a_page_may_send_whichever_headers_it_asks_for(nginx: Nginx, asked: str) -> None:
    answer, _ = nginx.ask(
        "OPTIONS",
        UPLOAD,
        {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        },
    )
    assert (answer.status, answer.headers["Access-Control-Allow-Headers"]) == (204, asked)
    assert answer.headers["Vary"] == (
        "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
    )


@pytest.mark.parametrize("asked", ["a b", "a,,b", "a: b", '"a"', "ä", "a,"])
def test_what_is_no_list_of_headers_is_not_repeated(nginx: Nginx, asked: str) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    headers["Access-Control-Request-Headers"] = asked
    answer, _ = nginx.ask("OPTIONS", UPLOAD, headers)
    assert answer.status == 204
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"].split(", ")


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (ORIGIN, True),
        ("https://dev.portside.test:8443", True),
        ("https://dev.portside.test", False),
        ("https://app.portside.test:8443", False),
        ("http://app.portside.test", False),
        ("https://pr-7.preview.test", True),
        ("https://a.b.preview.test", True),
        ("https://preview.test", False),
        ("https://preview.test.evil.example", False),
        ("https://evil.example/.preview.test", False),
        ("https://x-preview.test", False),
        ("null", True),
        ("https://evil.example", False),
    ],
)
def test_only_the_origins_that_were_named_are_let_in(
    nginx: Nginx, origin: str, allowed: bool
) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
    answer, _ = nginx.ask("OPTIONS", UPLOAD, {"Origin": origin, **asked})
    assert answer.headers["Access-Control-Allow-Origin"] == (origin if allowed else None)
    assert answer.headers["Access-Control-Allow-Credentials"] == ("true" if allowed else None)
    assert answer.headers["Access-Control-Allow-Headers"] == ("x-a" if allowed else None)


def test_a_page_may_ask_a_node_in_its_readers_own_network(nginx: Nginx) -> None:
    asked = {"Access-Control-Request-Private-Network": "true"}
    for origin, allowed in ((ORIGIN, "true"), ("https://evil.example", None)):
        answer, _ = nginx.ask("OPTIONS", UPLOAD, {"Origin": origin, **PREFLIGHT, **asked})
        assert answer.headers["Access-Control-Allow-Private-Network"] == allowed


def test_a_file_may_be_embedded_by_pages_that_ask_for_permission(nginx: Nginx) -> None:
    answer, _ = nginx.ask("GET", "/uploads/a.bin", {"Origin": ORIGIN})
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["Timing-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize("status", [401, 404, 409, 413, 422, 429, 503, 507])
def test_a_page_can_read_every_refusal(nginx: Nginx, agent: AgentDouble, status: int) -> None:
    agent.answer = lambda request, headers: reply(
        403, X_Refusal_Status=str(status), X_Refusal="{}", Retry_After="10"
    )
    answer, _ = nginx.ask("PUT", f"{UPLOAD}/a.iso", {"Origin": ORIGIN}, b"x")
    assert answer.status == status
    assert answer.headers.get_all("Access-Control-Allow-Origin") == [ORIGIN]
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"Retry-After", "WWW-Authenticate", "Upload-Offset", "X-Request-ID"} <= set(exposed)


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/uploads/a.bin", {"Range": "bytes=99-"}, 416),
        ("/uploads/a.bin", {"If-Match": '"x"'}, 412),
        ("/uploads/a.bin", {"X-Long": "x" * 9000}, 400),
        ("/uploads/missing.bin", {}, 404),
        ("/nothing", {}, 404),
    ],
)
def test_a_page_can_read_every_error_of_nginx_itself(
    nginx: Nginx, path: str, headers: dict[str, str], status: int
) -> None:
    answer, body = nginx.ask("GET", path, {"Origin": ORIGIN, **headers})
    assert (answer.status, json.loads(body)["status"]) == (status, status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    # Once: two of the same are none to a browser.
    assert answer.headers.get_all("Access-Control-Allow-Origin") == [ORIGIN]
    assert len(answer.headers.get_all("X-Request-ID", [])) == 1
