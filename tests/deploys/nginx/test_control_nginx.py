"""The control plane behind nginx: what a client sees of it, alone or beside a storage node."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import Node, StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB, MIB
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeControl
from tests.support.nginx_process import AgentDouble, Nginx, reply

BOTH = CLUSTER.replace("s01: {}", "s01: {roles: [storage, control]}").replace(", c01: {}", "")
SLOW = "limits: {control_requests_per_address: 10}\n"
SESSIONS = "/api/v1/upload/sessions"


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize(("cluster", "node_id"), [(CLUSTER, "c01"), (BOTH, "s01")])
def test_the_configuration_is_valid(
    make_control: MakeControl, tmp_path: Path, cluster: str, node_id: str, ipv6: bool
) -> None:
    node = make_control(parse(cluster), node_id, ipv6=ipv6)
    # This computer may have no IPv6 to listen on.
    text = configuration(node).replace("listen [::]:", "# [::]:")
    path = nginx_process.write(text, tmp_path)
    assert nginx_process.check(path) == ""


def test_the_control_plane_alone_has_the_port_of_https(make_control: MakeControl) -> None:
    text = configuration(make_control())
    assert "listen 443 ssl" in text
    assert "8443" not in text
    assert "location /uploads/" not in text


def test_beside_a_storage_node_it_has_another(make_control: MakeControl) -> None:
    text = configuration(make_control(parse(BOTH), "s01"))
    assert text.count("listen 443 ssl") == text.count("listen 8443 ssl") == 1


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
def agent(home: Path) -> Iterator[AgentDouble]:
    double = AgentDouble(home / "agent.sock")
    double.answer = lambda request, headers: reply(200, "the agent")
    yield double
    double.close()


@pytest.fixture(scope="module")
def _control(home: Path) -> Iterator[AgentDouble]:
    double = AgentDouble(home / "control.sock")
    yield double
    double.close()


@pytest.fixture
def control(_control: AgentDouble) -> AgentDouble:
    _control.answer = lambda request, headers: reply(200, "the control plane")
    _control.requests.clear()
    return _control


def _node(cluster: str, node_id: str) -> Node:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    read = parse(cluster)
    kind = StorageNode if "storage" in read.roles_of(node_id) else Node
    return kind(node_id, read, found, sizing.size(machine), "root")


@pytest.fixture(scope="module")
def both(home: Path, agent: AgentDouble, _control: AgentDouble) -> Iterator[Nginx]:
    running = Nginx(nginx_process.write(configuration(_node(BOTH, "s01")), home))
    yield running
    running.stop()


def test_one_machine_serves_both_each_on_its_port(both: Nginx, control: AgentDouble) -> None:
    _, from_agent = both.ask("GET", "/api/v1/files")
    _, from_control = both.ask("GET", "/api/v1/files", port=both.control_port)
    assert (from_agent, from_control) == (b"the agent", b"the control plane")


@pytest.mark.parametrize("path", [SESSIONS, "/health/ready", "/openapi.json", "/metrics"])
def test_requests_reach_the_control_plane_as_they_came(
    both: Nginx, control: AgentDouble, path: str
) -> None:
    control.answer = lambda request, headers: reply(201, "{}", X_Request_ID="its own")
    answer, body = both.ask(
        "POST", path, {"Authorization": "Bearer key"}, b'{"owner": "me"}', port=both.control_port
    )
    assert (answer.status, body) == (201, b"{}")
    [(line, headers)] = control.requests
    assert line == f"POST {path}"
    assert headers["authorization"] == "Bearer key"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert answer.headers.get_all("X-Request-ID") == [headers["x-request-id"]]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_browser_may_ask_from_the_apps_own_pages_only(both: Nginx, control: AgentDouble) -> None:
    for origin, allowed in (
        ("https://app.portside.test", "https://app.portside.test"),
        ("https://evil.example", None),
    ):
        answer, _ = both.ask("GET", "/api/v1/files", {"Origin": origin}, port=both.control_port)
        assert answer.headers["Access-Control-Allow-Origin"] == allowed


@pytest.mark.parametrize("path", ["/", "/uploads/a.iso", "/internal/x", "/apis"])
def test_what_it_has_not_is_not_found(both: Nginx, control: AgentDouble, path: str) -> None:
    answer, body = both.ask("GET", path, port=both.control_port)
    assert (answer.status, json.loads(body)["type"]) == (404, "urn:portside:problem:not-found")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert control.requests == []


def test_a_body_that_no_request_has_is_refused(both: Nginx, control: AgentDouble) -> None:
    answer, body = both.ask(
        "POST", SESSIONS, {"Content-Length": str(2 * MIB)}, port=both.control_port
    )
    assert (answer.status, json.loads(body)["type"]) == (413, "urn:portside:problem:too-large")
    assert control.requests == []


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Nginx]:
    """A control node of its own with a low limit, and nothing behind its nginx."""
    running = Nginx(nginx_process.write(configuration(_node(CLUSTER + SLOW, "c01")), tmp_path))
    yield running
    running.stop()


def test_a_control_plane_that_restarts_is_a_503_with_a_time_to_come_back(alone: Nginx) -> None:
    answer, body = alone.ask("GET", "/health/ready")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert json.loads(body)["type"] == "urn:portside:problem:unavailable"


def test_an_address_that_comes_too_fast_is_told_when_to_come_back(alone: Nginx) -> None:
    answers = [alone.ask("GET", SESSIONS) for _ in range(20)]
    statuses = [answer.status for answer, _ in answers]
    assert 503 in statuses
    answer, body = answers[-1]
    assert (answer.status, answer.headers["Retry-After"]) == (429, "6")
    assert json.loads(body)["type"] == "urn:portside:problem:rate-limited"
    # Another address, and probes, aren't meant.
    assert alone.ask("GET", SESSIONS, source="127.0.0.9")[0].status == 503
    assert alone.ask("GET", "/health/live")[0].status == 503
