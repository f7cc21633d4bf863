"""Who reads what nodes measure: the node itself, the one of Prometheus, and who is named."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploys import layout
from deploys.components.nginx import configuration
from deploys.hosts.node import Node
from portside.cluster.file import parse
from portside.cluster.monitoring.scraping import METRICS, NODE_METRICS
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeControl, MakeNode
from tests.support.loopback import reserved_port
from tests.support.nginx_process import AgentDouble, Nginx, reply

ON = parse(f"{CLUSTER}monitoring: {{prometheus: on, allow: [127.0.0.4/31]}}\n")
OFF = parse(f"{CLUSTER}monitoring: {{allow: [127.0.0.4/31]}}\n")
MONITOR = "127.0.0.3"
"""From where Prometheus comes."""


class _Exporter:
    """Stands for node_exporter: one line for each request."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                asked = connection.recv(65536).split(b"\r\n")[0].decode()
                connection.sendall(reply(200, f"# {asked}\n"))

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(params=["storage", "control"])
def node(request: pytest.FixtureRequest, make_node: MakeNode, make_control: MakeControl) -> Node:
    """One of each role, in a cluster with Prometheus."""
    return make_node(cluster=ON) if request.param == "storage" else make_control(cluster=ON)


@pytest.fixture
def nginx(node: Node, tmp_path: Path) -> Iterator[Nginx]:
    """The node's nginx, with a node_exporter beside it and doubles behind."""
    port = reserved_port()
    exporter = _Exporter(port)
    behind = AgentDouble(tmp_path / ("agent.sock" if "storage" in node.roles else "control.sock"))
    text = configuration(node, monitors=(MONITOR,))
    assert layout.NODE_EXPORTER in text
    text = text.replace(layout.NODE_EXPORTER, f"127.0.0.1:{port}")
    running = Nginx(nginx_process.write(text, tmp_path))
    yield running
    running.stop()
    behind.close()
    exporter.close()


@pytest.mark.parametrize("path", [METRICS, NODE_METRICS])
@pytest.mark.parametrize(
    ("source", "reads"),
    [
        ("127.0.0.1", True),
        (MONITOR, True),
        ("127.0.0.4", True),
        ("127.0.0.5", True),
        ("127.0.0.6", False),
        ("127.0.0.2", False),
    ],
)
def test_metrics_are_for_the_node_for_prometheus_and_for_who_is_named(
    nginx: Nginx, path: str, source: str, reads: bool
) -> None:
    answer, _ = nginx.ask("GET", path, source=source)
    assert (answer.status < 300) is reads, answer.status
    assert answer.status in (200, 204, 404)


def test_what_is_asked_of_node_exporter_is_its_metrics_and_nothing_else(nginx: Nginx) -> None:
    answer, body = nginx.ask("GET", f"{NODE_METRICS}?collect[]=cpu")
    assert (answer.status, body) == (200, b"# GET /metrics?collect[]=cpu HTTP/1.1\n")
    for path in (f"{NODE_METRICS}/", f"{NODE_METRICS}/debug", "/metrics/"):
        assert nginx.ask("GET", path)[0].status == 404, path


def test_without_monitoring_there_is_no_way_to_it(make_node: MakeNode, tmp_path: Path) -> None:
    text = configuration(make_node(cluster=OFF))
    assert layout.NODE_EXPORTER not in text
    double = AgentDouble(tmp_path / "agent.sock")
    running = Nginx(nginx_process.write(text, tmp_path))
    try:
        assert running.ask("GET", NODE_METRICS)[0].status == 404
        assert running.ask("GET", METRICS)[0].status == 204
        assert running.ask("GET", METRICS, source=MONITOR)[0].status == 404
    finally:
        running.stop()
        double.close()


def test_an_address_that_is_named_as_well_is_said_once(make_node: MakeNode) -> None:
    """nginx warns of a network that is there twice, and a warning fails the deploy's check."""
    cluster = parse(f"{CLUSTER}monitoring: {{prometheus: on, allow: [127.0.0.3]}}\n")
    text = configuration(make_node(cluster=cluster), monitors=(MONITOR,))
    assert text.count("        127.0.0.3 1;") == 1
