"""A node at the end of a line that can be cut; it takes a web page's origin that isn't its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.quantities import MIB
from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.promises import NAME
from tests.support.cluster_files import CLUSTER
from tests.support.loopback import reserved_port
from tests.support.protocol.nodes import Node, node_behind_nginx


@pytest.fixture(scope="session")
def line() -> CuttingProxy:
    """The line on which the node is reached."""
    return CuttingProxy()


@pytest.fixture(scope="session")
def page_port() -> int:
    """Where the web pages are that upload."""
    return reserved_port()


@pytest.fixture(scope="session")
def node(
    tmp_path_factory: pytest.TempPathFactory, line: CuttingProxy, page_port: int
) -> Iterator[Node]:
    """A running node that has nothing left to do when all tests are over."""
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    cluster = CLUSTER.replace("https://app.portside.test", f"http://localhost:{page_port}")
    cluster += "uploads: {private: [private]}\n"
    with node_behind_nginx(*homes, cluster, line.port) as (node, nginx):
        with line.leading_to(nginx.https_port, lambda: node.agent.wait_for_uploads(0)):
            yield node
        node.agent.wait_for_uploads(0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 8 MiB and a bit, as people name them."""
    path = tmp_path / NAME
    path.write_bytes(os.urandom(8 * MIB + 12_345))
    return path
