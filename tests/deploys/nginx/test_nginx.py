"""nginx.conf: valid for every size of machine, and what a client sees of it."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.problems import ProblemError, slugs
from deploys.components.nginx import REFUSAL_STATUSES, configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB, MIB
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeNode
from tests.support.loopback import wait_until
from tests.support.nginx_process import AgentDouble, Nginx, allowing, reply

UPLOAD = "/api/internal/upload"
ORIGIN = "https://app.portside.test"
DATED = "iso/2026/11/21/07/a_me_20261121T070000_0123abcd.bin"


@pytest.mark.parametrize("mib", [384, 512, 1024, 2048, 4096, 8192, 16384, 65536])
def test_the_configuration_is_valid_for_every_size(
    make_node: MakeNode, tmp_path: Path, mib: int
) -> None:
    path = nginx_process.write(configuration(make_node(mib * MIB)), tmp_path)
    assert nginx_process.check(path) == ""


def test_ipv6_is_listened_on_only_where_there_is_ipv6(make_node: MakeNode) -> None:
    without, with_it = (configuration(make_node(ipv6=ipv6)).splitlines() for ipv6 in (False, True))
    assert [line.strip() for line in with_it if line not in without] == [
        "listen [::]:80 default_server;",
        "listen [::]:443 ssl default_server so_keepalive=60s:15s:4;",
    ]


@pytest.mark.parametrize("origins", ["[]", "['*']", "['https://a.example', 'https://b.example']"])
def test_the_configuration_is_valid_for_any_origins(
    make_node: MakeNode, tmp_path: Path, origins: str
) -> None:
    cluster = parse(CLUSTER.replace("['https://app.portside.test']", origins))
    path = nginx_process.write(configuration(make_node(cluster=cluster)), tmp_path)
    assert nginx_process.check(path) == ""


def test_a_broken_configuration_is_found(make_node: MakeNode, tmp_path: Path) -> None:
    path = nginx_process.write(configuration(make_node()).replace("sendfile on;", ""), tmp_path)
    path.write_text(path.read_text().replace("tcp_nopush on;", "tcp_nopush sideways;"))
    assert "invalid value" in nginx_process.check(path)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def agent(home: Path) -> Iterator[AgentDouble]:
    double = AgentDouble(home / "agent.sock")
    yield double
    double.close()


@pytest.fixture(scope="module")
def nginx(home: Path, agent: AgentDouble) -> Iterator[Nginx]:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    node = StorageNode("s01", parse(CLUSTER), found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(node), home)
    uploads = home / "data" / "uploads"
    for name in (DATED, "iso/named.bin", "iso/page.svg", "iso/named.bin.attr.json", "iso/.hidden"):
        (uploads / name).parent.mkdir(parents=True, exist_ok=True)
        (uploads / name).write_bytes(b"0123456789")
    attributes = json.dumps({"sha256": "0" * 64}, separators=(",", ":"))
    for name in (DATED, "iso/named.bin"):
        (uploads / f"{name}.attr.json").write_text(attributes)
    running = Nginx(path)
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def taking_everything(request: pytest.FixtureRequest) -> None:
    if "agent" in request.fixturenames or "nginx" in request.fixturenames:
        double: AgentDouble = request.getfixturevalue("agent")
        double.answer = allowing
        double.requests.clear()


def test_an_upload_is_decided_on_before_its_body(nginx: Nginx, agent: AgentDouble) -> None:
    agent.answer = lambda request, headers: reply(204 if "preflight" in request else 201)
    answer, _ = nginx.ask(
        "PUT", f"{UPLOAD}/a.iso?x=1", {"Authorization": "Bearer t", "Content-Type": "a/b"}, b"body"
    )
    assert answer.status == 201
    preflight, upload = agent.requests
    assert preflight[0] == "GET /internal/preflight"
    assert {name: preflight[1].get(name) for name in preflight[1] if "original" in name} == {
        "x-original-method": "PUT",
        "x-original-uri": f"{UPLOAD}/a.iso?x=1",
        "x-original-content-length": "4",
        "x-original-content-type": "a/b",
    }
    assert preflight[1]["authorization"] == "Bearer t"
    assert "content-length" not in preflight[1]
    assert upload[0] == f"PUT {UPLOAD}/a.iso?x=1"


@pytest.mark.parametrize("status", REFUSAL_STATUSES)
def test_a_refusal_comes_in_the_agents_words_without_the_body(
    nginx: Nginx, agent: AgentDouble, status: int
) -> None:
    words = json.dumps({"type": "urn:portside:problem:x", "detail": 'it\'s $full; "now"'})
    agent.answer = lambda request, headers: reply(
        403,
        X_Refusal_Status=str(status),
        X_Refusal=words,
        Retry_After="10",
        WWW_Authenticate='Bearer realm="portside"',
    )
    with nginx.connect() as connection:
        head = f"PUT {UPLOAD}/a.iso HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000000\r\n\r\n"
        connection.sendall(head.encode() + b"only the beginning")
        answer = b""
        while not answer.endswith(words.encode()):
            received = connection.recv(65536)
            assert received, answer
            answer += received
    first, *lines = answer.decode().split("\r\n\r\n")[0].split("\r\n")
    assert first.split(" ")[1] == str(status)
    assert {
        "Content-Type: application/problem+json",
        "Retry-After: 10",
        'WWW-Authenticate: Bearer realm="portside"',
        "Connection: close",
    } <= set(lines)
    assert [request for request, _ in agent.requests] == ["GET /internal/preflight"]


@pytest.mark.parametrize("path", [f"{UPLOAD}/slow.iso", "/api/v1/uploads/slow"])
def test_whoever_does_not_read_an_answer_holds_nothing_of_the_agent(
    nginx: Nginx, agent: AgentDouble, path: str
) -> None:
    # More than sockets take on the way.
    more = "x" * 16 * MIB
    agent.answer = lambda request, headers: (
        reply(204) if "preflight" in request else reply(200, more)
    )
    with nginx.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        wait_until(lambda: f"GET {path}" in agent.answered)


def test_a_refusal_without_words_is_still_a_refusal(nginx: Nginx, agent: AgentDouble) -> None:
    agent.answer = lambda request, headers: reply(403)
    answer, body = nginx.ask("PUT", f"{UPLOAD}/a.iso", body=b"x")
    assert (answer.status, json.loads(body)["type"]) == (403, "urn:portside:problem:refused")


def test_a_body_that_is_larger_than_any_buffer_is_not_refused_by_nginx(
    nginx: Nginx, agent: AgentDouble
) -> None:
    agent.answer = lambda request, headers: reply(403, X_Refusal_Status="507", X_Refusal="{}")
    answer, _ = nginx.ask("PUT", f"{UPLOAD}/a.iso", {"Content-Length": "99999999999"}, b"x")
    assert answer.status == 507


@pytest.mark.parametrize(
    "path",
    [
        "/internal/preflight",
        "/internal/refusal",
        "/_preflight",
        "/api/../internal/preflight",
        "/api/%2e%2e/internal/preflight",
        "/api/..%2finternal/preflight",
        "//internal/preflight",
    ],
)
def test_internal_paths_are_never_reached_from_outside(
    nginx: Nginx, agent: AgentDouble, path: str
) -> None:
    answer, _ = nginx.ask("GET", path)
    assert answer.status == 404
    assert agent.requests == []


def test_a_browser_from_an_allowed_origin_is_let_in_by_nginx_alone(
    nginx: Nginx, agent: AgentDouble
) -> None:
    answer, _ = nginx.ask(
        "OPTIONS", UPLOAD, {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {
        "Authorization",
        "Content-Type",
        "Repr-Digest",
        "Tus-Resumable",
        "Upload-Offset",
    } <= set(allowed)
    assert agent.requests == []


def test_a_browser_from_elsewhere_gets_no_permission(nginx: Nginx) -> None:
    answer, _ = nginx.ask("GET", f"/uploads/{DATED}", {"Origin": "https://evil.example"})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    assert answer.headers["Vary"] == "Origin"


def test_errors_can_be_read_by_a_browser_too(nginx: Nginx) -> None:
    answer, body = nginx.ask("GET", "/nothing", {"Origin": ORIGIN})
    assert (answer.status, json.loads(body)["status"]) == (404, 404)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_other_questions_about_options_are_the_agents(nginx: Nginx, agent: AgentDouble) -> None:
    nginx.ask("OPTIONS", "/api/v1/files")
    assert [request for request, _ in agent.requests] == ["OPTIONS /api/v1/files"]


@pytest.mark.parametrize(
    ("path", "policy"),
    [(DATED, "public, max-age=31536000, immutable"), ("iso/named.bin", "public, no-cache")],
)
def test_a_file_is_cached_as_long_as_its_name_stands_for_it(
    nginx: Nginx, path: str, policy: str
) -> None:
    answer, body = nginx.ask("GET", f"/uploads/{path}")
    assert (answer.status, body) == (200, b"0123456789")
    assert answer.headers.get_all("Cache-Control") == [policy]
    assert answer.headers["ETag"] == f'"{"0" * 64}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == "attachment"


def test_a_namespaces_own_time_goes_for_all_of_its_files(tmp_path: Path) -> None:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = parse(f"{CLUSTER}namespaces: {{iso: {{max_age: 1d}}, live: {{max_age: 0}}}}\n")
    node = StorageNode("s01", cluster, found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(node), tmp_path)
    uploads = tmp_path / "data" / "uploads"
    live = DATED.replace("iso/", "live/", 1)
    for name in (DATED, live, "iso/named.bin", "isos/named.bin"):
        (uploads / name).parent.mkdir(parents=True, exist_ok=True)
        (uploads / name).write_bytes(b"0123456789")
    running = Nginx(path)
    try:
        for name, policy in (
            (DATED, "public, max-age=86400"),
            ("iso/named.bin", "public, max-age=86400"),
            (live, "public, no-cache"),
            ("isos/named.bin", "public, no-cache"),
        ):
            answer, _ = running.ask("GET", f"/uploads/{name}")
            assert (answer.status, answer.headers["Cache-Control"]) == (200, policy)
    finally:
        running.stop()


def test_a_missing_dated_file_is_not_remembered_as_missing(nginx: Nginx) -> None:
    answer, _ = nginx.ask("GET", f"/uploads/{DATED}x")
    assert (answer.status, answer.headers["Cache-Control"]) == (404, None)


def test_a_range_is_served(nginx: Nginx) -> None:
    answer, body = nginx.ask("GET", f"/uploads/{DATED}", {"Range": "bytes=2-4"})
    assert (answer.status, body) == (206, b"234")
    assert answer.headers["Content-Range"] == "bytes 2-4/10"


def test_what_a_browser_could_run_is_saved_instead(nginx: Nginx) -> None:
    answer, _ = nginx.ask("GET", "/uploads/iso/page.svg")
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "iso/named.bin.attr.json",
        "iso/named%2ebin.attr%2ejson",
        "iso/.hidden",
        "iso/%2ehidden",
        "iso",
        "iso/",
        "",
        "../state/index.sqlite",
    ],
)
def test_attributes_hidden_files_and_folders_are_not_served(nginx: Nginx, path: str) -> None:
    answer, _ = nginx.ask("GET", f"/uploads/{path}")
    assert answer.status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_files_are_only_read(nginx: Nginx, method: str) -> None:
    answer, body = nginx.ask(method, f"/uploads/{DATED}", body=b"x")
    assert (answer.status, json.loads(body)["type"]) == (
        405,
        "urn:portside:problem:method-not-allowed",
    )
    assert answer.headers.get_all("Allow") == ["GET, HEAD, OPTIONS"]


def test_a_body_too_large_for_anything_but_an_upload_is_a_problem(nginx: Nginx) -> None:
    answer, body = nginx.ask("POST", "/api/v1/files", {"Content-Length": "2000000"}, b"x")
    assert (answer.status, json.loads(body)["type"]) == (413, "urn:portside:problem:too-large")


def test_http2_is_not_offered(nginx: Nginx) -> None:
    with nginx.connect() as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.version() == "TLSv1.3"


TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzM2NyZXQifQ.c2lnbmF0dXJl"


def test_no_token_reaches_a_log(make_node: MakeNode, tmp_path: Path) -> None:
    """Also while no agent is there: that is when nginx writes most."""
    running = Nginx(nginx_process.write(configuration(make_node()), tmp_path))
    uploads = tmp_path / "data" / "uploads" / "iso"
    uploads.mkdir()
    (uploads / "a.bin").write_bytes(b"x")
    places: list[tuple[str, dict[str, str]]] = [
        (f"/uploads/iso/a.bin?token={TOKEN}", {}),
        (f"/uploads/iso/missing.bin?token={TOKEN}", {}),
        (f"/uploads/iso/{TOKEN}.bin", {}),
        (f"/uploads/iso/%65{TOKEN[1:]}.bin", {}),
        (f"/api/v1/files/x/content?token={TOKEN}", {}),
        (f"/api/v1/files/{TOKEN}", {}),
        (f"{UPLOAD}/{TOKEN}.iso?a={TOKEN}&token={TOKEN}", {}),
        (f"{UPLOAD}/a.iso", {"Authorization": f"Bearer {TOKEN}", "Range": TOKEN}),
        (f"/{TOKEN}" * 200, {}),
        (f"/{TOKEN}%ZZ", {}),
        (f"/nothing/%0A{TOKEN}", {}),
        (f"/nothing/%0A{TOKEN}%FF", {}),
        # A line that isn't UTF-8 is none of JSON's.
        (f"/nothing/{TOKEN}%FF.bin", {}),
        ("/nothing/gr%F6%DFe.bin", {}),
        ("/nothing/gr%C3%B6%C3%9Fe%F0%9F%98%80.bin", {}),
        ("/", {"Referer": f"https://a.b/?token={TOKEN}", "User-Agent": TOKEN, "Cookie": TOKEN}),
        ("/last", {}),
    ]
    try:
        for path, headers in places:
            running.ask("GET", path, headers)
        lines = _logged(tmp_path / "access.log", "/last", least=len(places) - 1)
    finally:
        running.stop()
    everything = (tmp_path / "access.log").read_text() + (tmp_path / "error.log").read_text()
    for part in TOKEN.split("."):
        assert part not in everything
    assert {
        f"{UPLOAD}/[cut]",
        "/nothing/[cut]",
        "/nothing/gr[cut]",
        "/uploads/iso/missing.bin",
        "/uploads/iso/[cut]",
        "/nothing/gr\u00f6\u00dfe\U0001f600.bin",
    } <= {line["path"] for line in lines}


def test_a_question_that_is_answered_well_all_day_is_not_logged(
    nginx: Nginx, agent: AgentDouble, home: Path
) -> None:
    preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    for path in (UPLOAD, f"{UPLOAD}/probe.iso"):
        assert nginx.ask("HEAD", path)[0].status == 204
        assert nginx.ask("OPTIONS", path)[0].status == 204
        assert nginx.ask("OPTIONS", path, preflight)[0].status == 204
    agent.answer = lambda request, headers: reply(403, X_Refusal_Status="503", X_Refusal="{}")
    assert nginx.ask("HEAD", f"{UPLOAD}/probe.iso")[0].status == 503
    lines = _logged(home / "access.log", f"{UPLOAD}/probe.iso")
    told = {(line["method"], line["status"]) for line in lines if "probe.iso" in line["path"]}
    assert told == {("HEAD", 503)}
    assert ("OPTIONS", 204) not in {(line["method"], line["status"]) for line in lines}


def _logged(log: Path, path: str, least: int = 1) -> list[dict[str, Any]]:
    """The access log, once a request for `path` and `least` in all are in it.

    nginx writes after it has answered, and each of its workers when it comes to it.
    """

    def lines() -> list[dict[str, Any]]:
        whole, _, _ = log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    wait_until(lambda: len(lines()) >= least and path in {line["path"] for line in lines()})
    return lines()


def test_every_request_has_one_id_in_the_log_the_answer_and_for_the_agent(
    nginx: Nginx, agent: AgentDouble, home: Path
) -> None:
    agent.answer = lambda request, headers: reply(
        204 if "preflight" in request else 201, X_Request_ID="the agent's"
    )
    answer, _ = nginx.ask("PUT", f"{UPLOAD}/id.iso", {"X-Request-ID": "a client's"}, b"x")
    (found,) = answer.headers.get_all("X-Request-ID", [])
    assert len(found) == 32
    assert [headers["x-request-id"] for _, headers in agent.requests] == [found, found]
    path = f"{UPLOAD}/id.iso"
    logged = [line for line in _logged(home / "access.log", path) if line["path"] == path]
    assert [line["request"] for line in logged] == [found]
    missing, _ = nginx.ask("GET", "/nothing", {"Origin": ORIGIN})
    assert len(missing.headers["X-Request-ID"]) == 32
    assert "X-Request-ID" in missing.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("GET /" + "a" * 9000 + " HTTP/1.1\r\nHost: h\r\n", "longer than 8 KiB"),
        ("GET /%ZZ HTTP/1.1\r\nHost: h\r\n", "a percent sign as %25"),
        ("GET /a b HTTP/1.1\r\nHost: h\r\n", "a space is written as %20"),
        ("GET /x HTTP/1.1\r\n", "can't be read"),
        ("GET /x HTTP/1.1\r\nHost: h\r\nCookie: " + "a" * 9000 + "\r\n", "longer than 8 KiB"),
        (f"PUT {UPLOAD}/a.iso HTTP/1.1\r\nHost: h\r\nContent-Length: many\r\n", "can't be read"),
        (
            f"PUT {UPLOAD}/a.iso HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n",
            "can't be read",
        ),
        ("GET /x HTTP/3.0\r\nHost: h\r\n", "can't be read"),
        ("PRI * HTTP/2.0\r\n", "can't be read"),
    ],
)
def test_a_request_that_can_not_be_read_is_a_problem(nginx: Nginx, head: str, says: str) -> None:
    with nginx.connect() as connection:
        connection.sendall(head.encode() + b"\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        document = json.loads(answer.read())
    assert (answer.status, document["type"]) == (400, "urn:portside:problem:malformed-request")
    assert says in document["detail"]
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_every_status_of_the_agents_problems_can_come_out_of_a_preflight() -> None:
    statuses = {int(ProblemError(slug, "").status) for slug in slugs()}
    # Who is too slow has been let in before.
    assert statuses - set(REFUSAL_STATUSES) == {408}


# -- limits and monitoring -------------------------------------------------------------------------


@pytest.fixture
def limited(make_node: MakeNode, tmp_path: Path) -> Iterator[tuple[Nginx, AgentDouble]]:
    """nginx that takes one request a second from an address, and ten more at once."""
    double = AgentDouble(tmp_path / "agent.sock")
    cluster = parse(
        f"{CLUSTER}limits: {{requests_per_address: 60}}\nmonitoring: {{allow: [127.0.0.2/31]}}\n"
    )
    running = Nginx(nginx_process.write(configuration(make_node(cluster=cluster)), tmp_path))
    (tmp_path / "data" / "uploads" / "a.bin").write_bytes(b"x")
    yield running, double
    running.stop()
    double.close()


@pytest.mark.parametrize("path", ["/api/v1/files", f"{UPLOAD}/a.iso", "/api/v1/uploads"])
def test_who_comes_too_often_hears_when_to_come_again(
    limited: tuple[Nginx, AgentDouble], path: str
) -> None:
    nginx, double = limited
    statuses: list[int] = []
    while 429 not in statuses:
        # One a second is let in for as long as it takes to get ahead of that.
        assert len(statuses) < 500
        refused, body = nginx.ask("POST", path, {"Origin": ORIGIN})
        statuses.append(refused.status)
    assert statuses[:11] == [204] * 11
    assert set(statuses) == {204, 429}
    assert json.loads(body)["type"] == "urn:portside:problem:rate-limited"
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers.get_all("Retry-After") == ["1"]
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    asked = [request for request, _ in double.requests if "preflight" not in request]
    assert len(asked) == statuses.count(204)


def test_tus_clients_hear_of_the_limit_in_the_status_that_they_wait_for(
    limited: tuple[Nginx, AgentDouble],
) -> None:
    nginx, _ = limited
    statuses: list[int] = []
    while 503 not in statuses:
        assert len(statuses) < 500
        refused, body = nginx.ask("POST", "/api/v1/uploads/", {"Tus-Resumable": "1.0.0"})
        statuses.append(refused.status)
    assert set(statuses) == {204, 503}
    assert json.loads(body)["type"] == "urn:portside:problem:throttled"
    assert refused.headers.get_all("Retry-After") == ["1"]
    assert refused.headers["Tus-Resumable"] == "1.0.0"


def test_what_goes_on_or_is_only_read_never_hears_of_the_limit(
    limited: tuple[Nginx, AgentDouble],
) -> None:
    nginx, _ = limited
    statuses = [0]
    while statuses[-1] != 429:
        assert len(statuses) < 500
        statuses.append(nginx.ask("GET", "/api/v1/files")[0].status)
    for method, path in (
        ("HEAD", "/api/v1/uploads/0123456789abcdef0123456789abcdef"),
        ("PATCH", "/api/v1/uploads/0123456789abcdef0123456789abcdef"),
        ("POST", "/api/v1//uploads/0123456789abcdef0123456789abcdef/"),
        ("GET", "/uploads/a.bin"),
        ("GET", "/health/live"),
        ("GET", "/metrics"),
    ):
        for _ in range(15):
            assert nginx.ask(method, path)[0].status in (200, 204), path


@pytest.mark.parametrize(
    ("address", "status"), [("127.0.0.1", 204), ("127.0.0.2", 204), ("127.0.0.9", 404)]
)
def test_metrics_are_for_the_node_and_the_operators_networks(
    limited: tuple[Nginx, AgentDouble], address: str, status: int
) -> None:
    nginx, double = limited
    answer, _ = nginx.ask("GET", "/metrics", source=address)
    assert answer.status == status
    assert bool(double.requests) == (status == 204)


@pytest.mark.parametrize(("address", "reads"), [("127.0.0.2", "1"), ("127.0.0.9", "0")])
def test_the_agent_hears_who_reads_metrics_whatever_a_client_says(
    limited: tuple[Nginx, AgentDouble], address: str, reads: str
) -> None:
    nginx, double = limited
    nginx.ask("GET", "/api/v1/system/upload-status", {"X-Reads-Metrics": "1"}, source=address)
    ((_, headers),) = double.requests
    assert headers["x-reads-metrics"] == reads


def test_while_the_agent_restarts_clients_are_told_to_come_again(
    make_node: MakeNode, tmp_path: Path
) -> None:
    running = Nginx(nginx_process.write(configuration(make_node()), tmp_path))
    try:
        for method, path in (("PUT", f"{UPLOAD}/a.iso"), ("GET", "/api/v1/files/x")):
            answer, body = running.ask(method, path, {"Origin": ORIGIN}, b"x")
            assert (answer.status, json.loads(body)["type"]) == (
                503,
                "urn:portside:problem:unavailable",
            )
            assert answer.headers.get_all("Retry-After") == ["5"]
            assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        # After anything else tus-js-client would begin anew.
        asked, _ = running.ask("HEAD", "/api/v1/uploads/x", {"Tus-Resumable": "1.0.0"})
        assert (asked.status, asked.headers["Retry-After"]) == (423, "5")
        assert asked.headers["Tus-Resumable"] == "1.0.0"
        assert running.ask("HEAD", "/api/v1/uploads/x")[0].status == 503
    finally:
        running.stop()


def test_without_its_data_disk_a_node_says_so_and_nginx_needs_nothing_of_it(
    make_node: MakeNode, tmp_path: Path
) -> None:
    path = nginx_process.write(configuration(make_node()), tmp_path)
    shutil.rmtree(tmp_path / "data")
    running = Nginx(path)
    try:
        for method, asked in (
            ("PUT", f"{UPLOAD}/a.iso"),
            ("GET", "/health/ready"),
            ("GET", "/uploads/a.iso"),
        ):
            answer, body = running.ask(method, asked, {}, b"x")
            problem = json.loads(body)
            assert (answer.status, problem["type"]) == (503, "urn:portside:problem:disk-unmounted")
            assert "the data disk isn't mounted" in problem["detail"]
        # A client of tus waits, as for a restart.
        headers = {"Tus-Resumable": "1.0.0"}
        assert running.ask("HEAD", "/api/v1/uploads/x", headers)[0].status == 423
    finally:
        running.stop()
