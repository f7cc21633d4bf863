"""One id finds what a request caused in every log, on every machine; spans reach a collector."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.operator import certificates
from portside.quantities import GIB
from portside.tracing import context, current
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook
from tests.support import nginx_process
from tests.support.agent.damage import Node as CommitsByHand
from tests.support.agent.node_pairs import holds, introduce, member, rows, wait_until
from tests.support.agent.process import Agent
from tests.support.agent.receiver import Receiver
from tests.support.agent.stored_files import attributes_of
from tests.support.agent.worker_process import Worker, add_hooks
from tests.support.cluster_files import CLUSTER
from tests.support.collector import Collector, Span
from tests.support.control.process import ControlPlane
from tests.support.logs import whole_lines_of
from tests.support.nginx_process import Nginx

UPLOAD = "/api/internal/upload"
HOST = "localhost"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "shop=42,other=a b"}


@dataclass(frozen=True, slots=True)
class Node:
    """A node behind its nginx."""

    home: Path
    agent: Agent
    nginx: Nginx
    worker: Worker

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.nginx.https_port}"

    def put(self, name: str, headers: dict[str, str], **claims: Any) -> requests.Response:
        """Store a file through nginx."""
        sent = {"Authorization": f"Bearer {self.agent.mint(**claims)}", **headers}
        url, ca = f"{self.url}{UPLOAD}/{name}", str(self.home / "ca.crt")
        return requests.put(url, data=b"content", headers=sent, verify=ca, timeout=60)

    def accessed(self, key: str, value: str) -> list[dict[str, Any]]:
        """Lines of nginx's access log."""
        return [line for line in _lines(self.home / "access.log") if line.get(key) == value]


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines_of(log) if line[:1] == "{"]


def _of(log: Path, trace_id: str) -> set[str]:
    """What a log says happened in a trace."""
    return {line["event"] for line in _lines(log) if line.get("trace_id") == trace_id}


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes that trust each other's certificates, not started yet."""
    made: list[Node] = []
    ca = certificates.make_ca("test")
    pair = certificates.issue(ca, HOST)

    def make(node_id: str, **settings: Any) -> Node:
        home = tmp_path / node_id
        home.mkdir()
        machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
        found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
        storage = StorageNode(node_id, parse(CLUSTER), found, sizing.size(machine), "root")
        path = nginx_process.write(configuration(storage), home)
        (home / "node.pem").write_bytes(pair.certificate_pem + pair.key_pem)
        (home / "ca.crt").write_bytes(ca.certificate_pem)
        agent = Agent(
            home,
            root=home / "data",
            socket_path=home / "agent.sock",
            node_id=node_id,
            settings={"ca": str(home / "ca.crt"), **settings},
        )
        made.append(Node(home, agent, Nginx(path), Worker(agent)))
        return made[-1]

    yield make
    for node in made:
        node.worker.kill()
        node.nginx.stop()
        node.agent.kill()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlPlane]:
    home = tmp_path / "control"
    home.mkdir()
    plane = ControlPlane(home, f"sqlite:///{home}/control.sqlite", dead_after=600)
    assert plane.run("migrate").returncode == 0
    yield plane
    plane.end()


def test_one_id_is_in_every_log_from_nginx_to_the_other_node_the_hooks_and_the_control_plane(
    make_node: Callable[..., Node], control: ControlPlane, tmp_path: Path
) -> None:
    """The node restarts in between: what is still to be done knows what caused it."""
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$TRACEPARENT $TRACESTATE" > {tmp_path}/ran\n')
    script.chmod(0o755)
    first, second = make_node("s01"), make_node("s02")
    control_url = control.start_web()
    with Receiver() as receiver:
        add_hooks(
            first.agent,
            Hook(namespace="*", url=f"{receiver.origin}/told"),
            Hook(namespace="*", command=(str(script),)),
        )
        nodes = tuple(member(each.agent, each.url) for each in (first, second))
        introduce(first.agent, second.agent, nodes=nodes, control_url=control_url)
        first.agent.start()
        second.agent.start()
        answer = first.put("a.bin", SENT, replicas=("s02",))
        assert answer.status_code == 201, answer.text
        stored = StoredFile.model_validate_json(answer.content)
        first.agent.kill()
        first.agent.start()
        first.worker.start()
        wait_until(lambda: holds(second.agent, stored, b"content"), first.agent, second.agent)
        first.worker.wait_for(lambda: receiver.received)
        first.worker.wait_for((tmp_path / "ran").exists)
        first.worker.wait_for(
            lambda: len(first.worker.logged("delivered")) >= 2 and first.worker.logged("pushed")
        )
        (told,) = receiver.received

    (line,) = first.accessed("path", f"{UPLOAD}/a.bin")
    assert line["trace"] == TRACE
    assert line["request"] == answer.headers["X-Request-ID"] != TRACE
    assert {"upload committed", "request answered"} <= _of(first.agent.log, TRACE)
    assert {"pushed", "delivered", "hook's command ended"} <= _of(first.worker.log, TRACE)
    assert {each["method"] for each in second.accessed("trace", TRACE)} >= {"HEAD", "PUT"}
    assert {"copy committed", "request answered"} <= _of(second.agent.log, TRACE)
    webhook = context.parse(told.headers["traceparent"], told.headers["tracestate"])
    assert webhook is not None
    assert (webhook.trace_id, webhook.sampled) == (TRACE, True)
    assert webhook.state == SENT["tracestate"]
    environment = context.parse_text((tmp_path / "ran").read_text().strip())
    assert environment is not None
    assert (environment.trace_id, environment.state) == (TRACE, SENT["tracestate"])
    assert webhook.span_id != environment.span_id
    control.wait_for(lambda: "request answered" in _of(control.log, TRACE))
    (registered, *_) = [each for each in _lines(control.log) if each.get("trace_id") == TRACE]
    assert registered["path"] == "/api/v1/files"


def test_without_a_trace_that_can_be_read_nginx_and_agent_begin_the_same_one(
    make_node: Callable[..., Node],
) -> None:
    node = make_node("s01")
    introduce(node.agent, nodes=(member(node.agent, node.url),))
    node.agent.start()
    right = f"00-{TRACE}-00f067aa0ba902b7-00"
    for number, (header, expected) in enumerate(
        (
            (None, None),
            ("", None),
            (right.upper(), None),
            (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
            (f"00-{TRACE}-{'0' * 16}-01", None),
            (f"{right}-more", None),
            (f"ff{right[2:]}", None),
            (f"{right}, {right}", None),
            (f"01{right[2:]}x", None),
            ("x" * 4000, None),
            (right, TRACE),
            (f"01{right[2:]}", TRACE),
            (f"cc{right[2:]}-what-comes-later", TRACE),
        )
    ):
        name = f"{number}.bin"
        answer = node.put(name, {} if header is None else {"traceparent": header})
        assert answer.status_code == 201, answer.text
        trace_id = expected or answer.headers["X-Request-ID"]
        wait_until(partial(node.accessed, "path", f"{UPLOAD}/{name}"), node.agent)
        (line,) = node.accessed("path", f"{UPLOAD}/{name}")
        assert line["trace"] == trace_id, header
        (answered,) = [
            each
            for each in _lines(node.agent.log)
            if each["event"] == "request answered" and each["path"] == f"{UPLOAD}/{name}"
        ]
        assert answered["trace_id"] == trace_id, header
        stored = StoredFile.model_validate_json(answer.content)
        kept = json.loads(attributes_of(node.agent, stored).read_text())
        assert kept["request_id"] == answer.headers["X-Request-ID"]


def test_a_commit_that_a_crash_cut_short_goes_on_with_its_trace(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent()
    add_hooks(agent, Hook(namespace="*", url="http://127.0.0.1:9/"))
    cut = CommitsByHand(agent)
    sender = context.parse(SENT["traceparent"], SENT["tracestate"])
    assert sender is not None
    with current.within(sender):
        cut.index.begin(cut.intent("a.bin", b"content"))
    cut.database.close()
    agent.start()
    assert rows(agent, "SELECT state FROM files") == [("COMMITTED",)]
    assert rows(agent, "SELECT kind, trace FROM deliveries") == [("webhook", sender.text)]
    assert rows(agent, "SELECT key FROM notes WHERE key LIKE 'trace:%'") == []


def test_a_collector_gets_an_uploads_phases_copies_and_hooks_as_one_trace_without_secrets(
    make_node: Callable[..., Node],
) -> None:
    with Collector() as collector, Receiver() as receiver:
        first = make_node("s01", otlp=collector.url)
        second = make_node("s02")
        add_hooks(first.agent, Hook(namespace="*", url=f"{receiver.origin}/told?key=hidden"))
        nodes = tuple(member(each.agent, each.url) for each in (first, second))
        introduce(first.agent, second.agent, nodes=nodes)
        first.agent.start()
        second.agent.start()
        first.worker.start()
        wait_until((first.agent.root / "state" / "spans.sock").is_socket, first.agent)
        token = first.agent.mint(replicas=("s02",))
        answer = requests.put(
            f"{first.url}{UPLOAD}/a.bin?token={token}&by=query",
            data=b"content",
            headers={"Authorization": f"Bearer {token}"},
            verify=str(first.home / "ca.crt"),
            timeout=60,
        )
        assert answer.status_code == 201, answer.text
        trace_id = answer.headers["X-Request-ID"]
        wanted = {
            f"PUT {UPLOAD}/{{name:path}}",
            *("receive", "sync", "commit", "push", "hook webhook"),
        }

        def ours(spans: list[Span]) -> dict[str, Span]:
            return {span.name: span for span in spans if span.traceId == trace_id}

        found = ours(collector.wait_for(lambda spans: wanted <= ours(spans).keys()))
        first.worker.wait_for(lambda: (first.worker.report().spans or 0) and _exported(first) >= 6)
        metrics = requests.get(f"{first.agent.url}/metrics", timeout=60).text

    request = found[f"PUT {UPLOAD}/{{name:path}}"]
    assert (request.kind, request.parentSpanId) == (2, None)
    assert request.said == {
        "http.request.method": "PUT",
        "http.response.status_code": "201",
        "http.route": f"{UPLOAD}/{{name:path}}",
        "http.request.body.size": "7",
        "url.path": f"{UPLOAD}/a.bin",
        "url.scheme": "https",
        "portside.outcome": "ok",
    }
    for phase in ("receive", "sync", "commit"):
        assert (found[phase].parentSpanId, found[phase].kind) == (request.spanId, 1)
    for later in ("push", "hook webhook"):
        assert (found[later].parentSpanId, found[later].kind) == (found["commit"].spanId, 3)
    assert found["push"].said["portside.node"] == "s02"
    assert found["hook webhook"].said["portside.target"] == f"{receiver.origin}/told"
    sent = b"".join(collector.bodies).decode()
    assert "hidden" not in sent
    assert "by=query" not in sent
    assert token.split(".")[1] not in sent
    assert 'portside_spans_total{outcome="exported"}' in metrics


def _exported(node: Node) -> int:
    spans = node.worker.report().spans
    return 0 if spans is None else spans.exported


def test_uploads_go_on_as_before_with_a_collector_that_is_away(
    make_node: Callable[..., Node],
) -> None:
    node = make_node("s01", otlp="http://127.0.0.1:9")
    introduce(node.agent, nodes=(member(node.agent, node.url),))
    node.agent.start()
    # No worker runs: nobody takes the spans.
    for number in range(20):
        assert node.put(f"{number}.bin", {}).status_code == 201
    metrics = requests.get(f"{node.agent.url}/metrics", timeout=60).text
    (line,) = [
        each
        for each in metrics.splitlines()
        if each.startswith('portside_spans_total{outcome="queue-full"}')
    ]
    assert float(line.rpartition(" ")[2]) >= 20
