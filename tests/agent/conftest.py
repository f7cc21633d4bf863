"""Agents to test against: one that is shared, and ones of a test's own."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portside.quantities import MIB
from portside.wire.claims import Hook
from tests.support.agent.process import Agent
from tests.support.agent.worker_process import Worker, add_hooks


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


@pytest.fixture
def make_worker(make_agent: Callable[..., Agent]) -> Iterator[Callable[..., Worker]]:
    """Makes workers, not started yet, beside running agents with these settings and hooks."""
    made: list[Worker] = []

    def make(*hooks: Hook, **settings: object) -> Worker:
        agent = make_agent(settings=settings)
        add_hooks(agent, *hooks)
        agent.start()
        made.append(Worker(agent))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    """A worker beside a running agent, not started yet."""
    return make_worker()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A mounted ext4 filesystem of 64 MiB."""
    image, mounted = tmp_path / "disk.img", tmp_path / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)
