"""Copies over TLS, through nginx as a node has it: who is believed, and that refusals are heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from portside.quantities import GIB, MIB
from portside.tokens import SigningKey
from portside.wire.bounds import LARGEST_FILE
from portside.wire.files import StoredFile
from tests.support import nginx_process
from tests.support.agent.node_pairs import (
    Source,
    change,
    holds,
    introduce,
    member,
    rows,
    told,
    wait_until,
)
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access
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
    (home / "node.pem").write_bytes(pair.certificate_pem + pair.key_pem)
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


def told_copies(agent: Agent, stored: StoredFile) -> Any:
    """The copies of a file that an agent knows of."""
    return rows(agent, "SELECT node_id FROM copies WHERE file_id = ?", stored.file_id)


def quarantined_now(agent: Agent, stored: StoredFile) -> None:
    """Have an agent find out that a file is damaged."""
    url = f"{agent.url}/api/v1/files/{stored.file_id}/verify"
    answer = requests.post(url, headers=access(agent), timeout=60)
    assert answer.json()["intact"] is False, answer.text


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
    full = Source(front.agent, key, b"x", size=LARGEST_FILE - 1)
    url = full.url.replace(front.agent.url, front.url)
    answer = requests.put(
        url,
        data=b"x",
        headers=full.headers(Content_Range=f"bytes 0-0/{LARGEST_FILE - 1}"),
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


def test_a_damaged_file_is_fetched_from_a_node_that_has_it_or_let_go_for_it(
    front: Front, tmp_path: Path
) -> None:
    """A private one as well: who fetches it knows its digest."""
    agent = Agent(tmp_path, settings={"ca": str(front.ca)})
    introduce(agent, front.agent, nodes=(member(agent), member(front.agent, front.url)))
    agent.start()
    worker = Worker(agent)
    try:
        worker.start()
        token = agent.mint(replicas=("s02",), namespace="private")
        stored = StoredFile.model_validate(agent.put("a.bin", CONTENT, token).json())
        wait_until(lambda: told_copies(agent, stored), agent, front.agent)
        # As if the copy was another node's push, of which this one never heard.
        change(agent, "DELETE FROM copies")
        place = agent.root / "uploads" / stored.path
        for settle in ("", "--fetch", "--remove"):
            place.write_bytes(b"x" * len(CONTENT))
            quarantined_now(agent, stored)
            shown = agent.command("quarantine", "show", stored.file_id)
            assert "good copies elsewhere: s02 (heard " in shown.stdout, shown
            assert "asked s02: has a good copy" in shown.stdout
            done = agent.command("quarantine", "settle", stored.file_id, *settle.split())
            assert done.returncode == 0, done
            if settle != "--remove":
                assert "fetched from s02" in done.stdout
                assert place.read_bytes() == CONTENT
                assert list((agent.root / "quarantine").iterdir()) == []
        assert "removed: s02 has it" in done.stdout
        assert not place.exists()
        assert (front.agent.root / "uploads" / stored.path).read_bytes() == CONTENT
    finally:
        worker.kill()
        agent.kill()


def test_what_a_node_orders_at_its_api_its_worker_fetches(front: Front, tmp_path: Path) -> None:
    agent = Agent(tmp_path, settings={"ca": str(front.ca)})
    introduce(agent, front.agent, nodes=(member(agent), member(front.agent, front.url)))
    agent.start()
    worker = Worker(agent)
    try:
        worker.start()
        stored = _put(agent, CONTENT)
        wait_until(lambda: told_copies(agent, stored), agent, front.agent)
        (agent.root / "uploads" / stored.path).write_bytes(b"x" * len(CONTENT))
        quarantined_now(agent, stored)
        url = f"{agent.url}/api/v1/quarantine/{stored.file_id}"
        answer = requests.post(url, json={"by": "fetch"}, headers=access(agent), timeout=60)
        assert (answer.status_code, answer.json()["outcome"]) == (202, "ordered")
        wait_until(lambda: holds(agent, stored, CONTENT), agent)
    finally:
        worker.kill()
        agent.kill()


def test_a_file_is_given_only_to_a_node_that_names_it_in_full(front: Front) -> None:
    key = SigningKey.generate("s03")
    other = member(front.agent).model_copy(update={"node_id": "s03", "key": key.public()})
    introduce(front.agent, nodes=(member(front.agent), other))
    kept = Source(front.agent, key, b"0123456789")
    assert kept.put().status_code == 201
    named = kept.claims.model_dump()
    for changed, status in ({}, 200), ({"sha256": "0" * 64}, 409), ({"file_id": "0" * 32}, 409):
        asks = Source(front.agent, key, b"0123456789", **{**named, **changed})
        url = asks.url.replace(front.agent.url, front.url)
        answer = requests.get(url, headers=asks.headers(), verify=str(front.ca), timeout=60)
        assert answer.status_code == status, answer.text
        assert (answer.content == b"0123456789") == (status == 200)
    stranger = Source(front.agent, SigningKey.generate("s03"), b"0123456789", **named)
    url = stranger.url.replace(front.agent.url, front.url)
    answer = requests.get(url, headers=stranger.headers(), verify=str(front.ca), timeout=60)
    assert (answer.status_code, slug_of(answer)) == (401, "token-unknown-key")
