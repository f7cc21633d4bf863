"""Agents to test against: one that is shared, and ones of a test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.process import Agent


@pytest.fixture(scope="session")
def shared_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A running agent for tests that only add files to it."""
    agent = Agent(tmp_path_factory.mktemp("agent"))
    agent.start()
    yield agent
    agent.kill()


@pytest.fixture
def make_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    """Makes agents, not started yet, that are ended with the test."""
    made: list[Agent] = []

    def make(**options: object) -> Agent:
        home = tmp_path / f"agent-{len(made)}"
        home.mkdir()
        made.append(Agent(home, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    """A running agent of the test's own."""
    agent = make_agent()
    agent.start()
    return agent
