"""Agents whose answers lead back to them, alone and behind nginx with a node's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bench.packages import installed_by_npm
from deploys.layout import PROJECT_ROOT
from tests.support.agent.process import Agent
from tests.support.protocol.checks import check_nothing_left_behind
from tests.support.protocol.nodes import HomingAgent, Node, node_behind_nginx
from tests.support.protocol.requests_by_hand import Ietf, Talker, Tus

_CLIENTS = Path(__file__).parent / "clients"

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
    homes = tmp_path_factory.mktemp("nginx"), tmp_path_factory.mktemp("agent")
    with node_behind_nginx(*homes) as (node, _):
        yield node


@pytest.fixture(scope="session")
def tus_js() -> Path:
    """The script that drives tus-js-client, with its modules installed beside it."""
    names = ("package.json", "package-lock.json", "tus_js.mjs")
    place = PROJECT_ROOT / "build" / "protocol" / "tus-js"
    return installed_by_npm([_CLIENTS / name for name in names], place) / "tus_js.mjs"
