"""Copies over TLS, through nginx as a node has it: who is believed, and that refusals are heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from deploys.components import facts
from deploys.components.nginx import configuration
from deploys.components.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.operator import certificates
from portside.quantities import GIB, MIB
from portside.tokens import SigningKey
from portside.wire.claims import StoredFile
from tests.support import nginx_process
from tests.support.agent.node_pairs import Source, holds, introduce, member, told, wait_until
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.worker_process import Worker
from tests.support.cluster_files import CLUSTER

CONTENT = random.Random(5).randbytes(20 * MIB + 3)  # noqa: S311 (any bytes will do)
HOST = "localhost"


@dataclass(frozen=True, slots=True)
class Front:
    """A node behind nginx: its agent, its URL, and the authority that vouches for it."""

    agent: Agent
    url: str
    ca: Path


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A running s02."""
    home = tmp_path_factory.mktemp("nginx")
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    storage = StorageNode("s02", parse(CLUSTER), found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(storage), home)
    ca = certificates.make_ca("test")
    pair = certificates.issue(ca, HOST)
    (home / "node.crt").write_bytes(pair.certificate_pem)
    (home / "node.key").write_bytes(pair.key_pem)
    (home / "ca.crt").write_bytes(ca.certificate_pem)
    nginx = nginx_process.Nginx(path)
    agent = Agent(
        tmp_path_factory.mktemp("agent"),
        root=home / "data",
        socket_path=home / "agent.sock",
        node_id="s02",
    )
    agent.start()
    yield Front(agent, f"https://{HOST}:{nginx.https_port}", home / "ca.crt")
    agent.kill()
    nginx.stop()


@pytest.fixture
def make_source(tmp_path: Path) -> Iterator[Callable[..., tuple[Agent, Worker]]]:
    """Makes a running s01 with its worker, which end with the test."""
    made: list[tuple[Agent, Worker]] = []

    def make(front: Front, **settings: Any) -> tuple[Agent, Worker]:
        agent = Agent(tmp_path, settings={"scrub_rate": 1, **settings})
        introduce(agent, front.agent, nodes=(member(agent), member(front.agent, front.url)))
        agent.start()
        worker = Worker(agent)
        made.append((agent, worker))
        worker.start()
        return agent, worker

    yield make
    for agent, worker in made:
        worker.kill()
        agent.kill()


def _put(agent: Agent, content: bytes) -> StoredFile:
    answer = agent.put("a.bin", content, agent.mint(replicas=("s02",)))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate_json(answer.content)


def test_a_file_is_copied_over_tls(
    front: Front, make_source: Callable[..., tuple[Agent, Worker]]
) -> None:
    source, _ = make_source(front, ca=str(front.ca))
    stored = _put(source, CONTENT)
    wait_until(lambda: told(source, stored.file_id)["copies"], source, front.agent)
    assert holds(front.agent, stored, CONTENT)
    served = requests.get(f"{front.url}/uploads/{stored.path}", verify=str(front.ca), timeout=60)
    assert served.content == CONTENT


def test_a_target_whose_certificate_nobody_vouches_for_gets_nothing(
    front: Front, make_source: Callable[..., tuple[Agent, Worker]]
) -> None:
    source, worker = make_source(front)
    stored = _put(source, b"secret")
    wait_until(lambda: worker.logged("push failed"), source)
    assert "CERTIFICATE_VERIFY_FAILED" in worker.logged("push failed")[0]["error"]
    assert not holds(front.agent, stored, b"secret")


def test_a_refusal_is_heard_although_the_body_is_on_its_way(
    front: Front, make_source: Callable[..., tuple[Agent, Worker]]
) -> None:
    source, worker = make_source(front, ca=str(front.ca))
    introduce(front.agent, nodes=(member(front.agent),))
    _put(source, CONTENT)
    wait_until(lambda: worker.logged("push failed"), source, front.agent)
    assert "answered 401 (token-unknown-key" in worker.logged("push failed")[0]["error"]


def test_nginx_gives_the_agents_refusals_before_it_takes_the_body(front: Front) -> None:
    key = SigningKey.generate("s03")
    other = member(front.agent).model_copy(update={"node_id": "s03", "key": key.public()})
    introduce(front.agent, nodes=(member(front.agent), other))
    full = Source(front.agent, key, b"x", size=2**59)
    url = full.url.replace(front.agent.url, front.url)
    answer = requests.put(
        url,
        data=b"x",
        headers=full.headers(Content_Range=f"bytes 0-0/{2**59}"),
        verify=str(front.ca),
        timeout=60,
    )
    assert (answer.status_code, slug_of(answer)) == (507, "no-space")
    begun = Source(front.agent, key, CONTENT)
    url = begun.url.replace(front.agent.url, front.url)
    span = {"Content_Range": f"bytes 0-{MIB - 1}/{len(CONTENT)}"}
    for status in (204, 409):
        answer = requests.put(
            url, data=CONTENT[:MIB], headers=begun.headers(**span), verify=str(front.ca), timeout=60
        )
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (status, str(MIB))
    answer = requests.head(url, headers=begun.headers(), verify=str(front.ca), timeout=60)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(MIB))
    answer = requests.delete(url, headers=begun.headers(), verify=str(front.ca), timeout=60)
    assert answer.status_code == 204
