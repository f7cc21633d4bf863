"""Agents whose answers lead back to them, alone and behind nginx with a node's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bench.packages import installed_by_npm
from deploys.components import facts
from deploys.components.nginx import configuration
from deploys.components.node import StorageNode
from deploys.layout import PROJECT_ROOT
from portside import sizing
from portside.cluster.file import parse
from portside.operator import certificates
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.agent.process import NODE_ID, Agent
from tests.support.cluster_files import CLUSTER
from tests.support.protocol.checks import check_nothing_left_behind
from tests.support.protocol.nodes import HomingAgent, Node
from tests.support.protocol.requests_by_hand import Ietf, Talker, Tus

_CLIENTS = Path(__file__).parent / "clients"
_HOST = "localhost"

AnyTalker = TypeVar("AnyTalker", bound=Talker)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A running agent for the tests of one module."""
    agent = HomingAgent(tmp_path_factory.mktemp("agent"))
    agent.start()
    yield agent
    agent.kill()


@pytest.fixture
def tus(shared: Agent) -> Iterator[Tus]:
    """A talker whose upload, if it is open, is ended with the test."""
    yield from _ending(Tus(shared))


@pytest.fixture
def ietf(shared: Agent) -> Iterator[Ietf]:
    """The same in the other dialect."""
    yield from _ending(Ietf(shared))


def _ending(talker: AnyTalker) -> Iterator[AnyTalker]:
    yield talker
    talker.end_all()
    check_nothing_left_behind(talker.agent)


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents, not started yet, that are ended with the test."""
    made: list[Agent] = []

    def make(**options: Any) -> Agent:
        home = tmp_path / f"agent-{len(made)}"
        home.mkdir()
        made.append(HomingAgent(home, **options))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A running node for the tests of one module."""
    home = tmp_path_factory.mktemp("nginx")
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    storage = StorageNode(NODE_ID, parse(CLUSTER), found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(storage), home)
    ca = _certificate_for_this_computer(home)
    nginx = nginx_process.Nginx(path)
    agent = Agent(
        tmp_path_factory.mktemp("agent"),
        root=home / "data",
        settings={"public_base_url": f"https://{_HOST}:{nginx.https_port}"},
        socket_path=home / "agent.sock",
    )
    agent.start()
    yield Node(f"https://{_HOST}:{nginx.https_port}", agent, ca)
    agent.kill()
    nginx.stop()


def _certificate_for_this_computer(home: Path) -> Path:
    """Clients nobody here wrote check certificates: one they accept, and the CA to accept it by."""
    ca = certificates.make_ca("test")
    pair = certificates.issue(ca, _HOST)
    (home / "node.crt").write_bytes(pair.certificate_pem)
    (home / "node.key").write_bytes(pair.key_pem)
    (home / "ca.crt").write_bytes(ca.certificate_pem)
    return home / "ca.crt"


@pytest.fixture(scope="session")
def tus_js() -> Path:
    """The script that drives tus-js-client, with its modules installed beside it."""
    names = ("package.json", "package-lock.json", "tus_js.mjs")
    place = PROJECT_ROOT / "build" / "protocol" / "tus-js"
    return installed_by_npm([_CLIENTS / name for name in names], place) / "tus_js.mjs"
