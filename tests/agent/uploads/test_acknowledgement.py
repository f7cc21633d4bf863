"""`ack: replicated`: 201 is said once another node has the file as well, and not before."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from portside.tokens import verify_receipt
from tests.support.agent.node_pairs import introduce, member, wait_until
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.worker_process import Worker

MakeNode = Callable[..., Agent]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    made: list[Agent] = []

    def make(node_id: str, **settings: Any) -> Agent:
        home = tmp_path / node_id
        home.mkdir()
        made.append(Agent(home, node_id=node_id, settings=settings))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture
def worker_of() -> Iterator[Callable[[Agent], Worker]]:
    made: list[Worker] = []

    def make(agent: Agent) -> Worker:
        made.append(Worker(agent))
        return made[-1]

    yield make
    for worker in made:
        worker.kill()


def replicated(agent: Agent, **claims: Any) -> str:
    return agent.mint(**{"ack": "replicated", "replicas": ("s02",), "name": "a.bin", **claims})


def test_an_upload_is_answered_once_its_copy_is_there(
    make_node: MakeNode, worker_of: Callable[[Agent], Worker]
) -> None:
    source, target = make_node("s01"), make_node("s02")
    introduce(source, target)
    source.start()
    target.start()
    worker = worker_of(source)
    answers: list[requests.Response] = []
    token = replicated(source)
    asking = threading.Thread(target=lambda: answers.append(source.put("a.bin", b"content", token)))
    asking.start()
    wait_until(source.visible_files, source)
    # It is stored, and nobody has been told so: there is no worker yet.
    assert answers == []
    worker.start()
    asking.join(timeout=60)
    (answer,) = answers
    assert answer.status_code == 201, answer.text
    (copy,) = answer.json()["copies"]
    assert verify_receipt(copy["receipt"], target.node_keys).file_id == answer.json()["file_id"]
    assert [path.read_bytes() for path in target.visible_files()] == [b"content"]
    again = source.put("a.bin", b"content", token)
    assert (again.status_code, again.json()) == (200, answer.json())


def test_without_a_copy_in_time_the_file_stays_and_is_told_of_later(
    make_node: MakeNode, worker_of: Callable[[Agent], Worker]
) -> None:
    source, target = make_node("s01", ack_timeout=1), make_node("s02")
    introduce(source, target)
    source.start()
    token = replicated(source)
    answer = source.put("a.bin", b"content", token)
    assert (answer.status_code, slug_of(answer)) == (504, "not-replicated")
    assert [path.read_bytes() for path in source.visible_files()] == [b"content"]
    target.start()
    worker_of(source).start()
    wait_until(target.visible_files, source, target)

    def told() -> bool:
        later = source.put("a.bin", b"content", token)
        assert later.status_code in (200, 504)
        return later.status_code == 200

    wait_until(told, source, target)


def test_resumable_uploads_wait_as_well(
    make_node: MakeNode, worker_of: Callable[[Agent], Worker]
) -> None:
    source, target = make_node("s01", ack_timeout=1), make_node("s02")
    introduce(source, target)
    source.start()
    token = {"Authorization": f"Bearer {replicated(source)}", "Tus-Resumable": "1.0.0"}
    created = requests.post(
        f"{source.url}/api/v1/uploads", headers={**token, "Upload-Length": "7"}, timeout=60
    )
    url = f"{source.url}/api/v1/uploads/{created.headers['Location'].rpartition('/')[2]}"
    body = {
        **token,
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Accept": "application/json",
    }
    answer = requests.patch(url, b"content", headers=body, timeout=60)
    assert (answer.status_code, slug_of(answer)) == (504, "not-replicated")
    # A client that asks how far it got must not take it for done, nor for lost.
    assert requests.head(url, headers=token, timeout=60).status_code == 423
    target.start()
    worker_of(source).start()
    wait_until(
        lambda: requests.head(url, headers=token, timeout=60).status_code == 200, source, target
    )
    last = {**body, "Upload-Offset": "7"}
    answer = requests.patch(url, b"", headers=last, timeout=60)
    assert (answer.status_code, len(answer.json()["copies"])) == (200, 1)


@pytest.mark.parametrize("others", ["none", "unknown", "down", "itself"])
def test_where_no_copy_can_be_made_the_upload_is_refused_before_its_body(
    make_node: MakeNode, others: str
) -> None:
    source = make_node("s01")
    other = member(source).model_copy(update={"node_id": "s02", "state": "down"})
    introduce(source, nodes=(member(source), *((other,) if others == "down" else ())))
    source.start()
    replicas = {"none": (), "unknown": ("s07",), "down": ("s02",), "itself": ("s01",)}[others]
    token = replicated(source, replicas=replicas)
    answer = source.put("a.bin", b"content", token)
    assert (answer.status_code, slug_of(answer)) == (503, "no-replica-node")
    asked = {
        "Authorization": f"Bearer {token}",
        "X-Original-Method": "PUT",
        "X-Original-URI": "/api/internal/upload/a.bin",
        "X-Original-Content-Length": "7",
    }
    probe = requests.get(f"{source.url}/internal/preflight", headers=asked, timeout=60)
    assert probe.headers["X-Refusal-Status"] == "503"
    tus = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0", "Upload-Length": "7"}
    begun = requests.post(f"{source.url}/api/v1/uploads", headers=tus, timeout=60)
    assert (begun.status_code, slug_of(begun)) == (503, "no-replica-node")
    assert source.leftovers() == []
