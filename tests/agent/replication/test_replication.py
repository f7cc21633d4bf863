"""Copies from node to node: two real agents, and the worker of the one that has the file."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.index.database import Database
from agent.replication.queue import Lag, PushQueue
from agent.settings import load
from agent.storage.deletion import remove_copy
from portside.quantities import KIB, MIB
from portside.tokens import SigningKey, verify_receipt
from portside.wire.control import FileReceipt
from portside.wire.files import StoredFile
from tests.support.agent.node_pairs import (
    change,
    holds,
    introduce,
    member,
    order_of,
    rows,
    told,
    wait_until,
)
from tests.support.agent.process import SMALL_NODE, Agent, slug_of
from tests.support.agent.receiver import Receiver
from tests.support.agent.stored_files import access
from tests.support.agent.worker_process import Worker
from tests.support.loopback import reserved_port

CONTENT = random.Random(4).randbytes(3 * MIB + 7)  # noqa: S311 (any bytes will do)
SIZING = replace(SMALL_NODE, sync_window=MIB)

MakeNode = Callable[..., Agent]


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[MakeNode]:
    """Makes nodes, not started yet, that are ended with the test."""
    made: list[Agent] = []

    def make(node_id: str, **settings: Any) -> Agent:
        home = tmp_path / node_id
        home.mkdir()
        # The scrubber stands still: it must not find what a push is to find.
        settings = {"scrub_rate": 1, **settings}
        made.append(Agent(home, node_id=node_id, sizing=SIZING, settings=settings))
        return made[-1]

    yield make
    for agent in made:
        agent.kill()


@pytest.fixture
def start_worker() -> Iterator[Callable[[Agent], Worker]]:
    """Starts an agent's worker, which is ended with the test."""
    made: list[Worker] = []

    def start(agent: Agent) -> Worker:
        worker = Worker(agent)
        made.append(worker)
        worker.start()
        return worker

    yield start
    for worker in made:
        worker.kill()


StartWorker = Callable[[Agent], Worker]


@pytest.fixture
def pair(make_node: MakeNode) -> tuple[Agent, Agent]:
    """Two running nodes that know each other; the first has no worker yet."""
    source, target = make_node("s01"), make_node("s02")
    introduce(source, target, factor=2)
    source.start()
    target.start()
    return source, target


def put(agent: Agent, content: bytes = CONTENT, **claims: Any) -> StoredFile:
    answer = agent.put(f"{secrets.token_hex(4)}.bin", content, agent.mint(**claims))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate_json(answer.content)


def pushes(agent: Agent) -> list[tuple[Any, ...]]:
    return rows(agent, "SELECT target, state, attempts, error FROM pushes ORDER BY push_id")


def copies(agent: Agent, stored: StoredFile) -> list[str]:
    return [copy["node_id"] for copy in told(agent, stored.file_id)["copies"]]


def delete(agent: Agent, stored: StoredFile) -> None:
    url = f"{agent.url}/api/v1/files/{stored.file_id}"
    headers = access(agent, rights=("delete",))
    assert requests.delete(url, headers=headers, timeout=60).status_code == 204


def knows(agent: Agent, stored: StoredFile) -> bool:
    answer = requests.get(f"{agent.url}/api/v1/files/{stored.file_id}", timeout=60)
    return answer.status_code != 404


@contextmanager
def outbox(agent: Agent) -> Iterator[PushQueue]:
    """The agent's outbox, as the worker's heartbeats use it."""
    database = Database(agent.root / "state" / "index.sqlite")
    try:
        yield PushQueue(database)
    finally:
        database.close()


class Gate:
    """A way to a node that lets so many bytes through, then cuts or holds connections."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._server = socket.create_server(("127.0.0.1", reserved_port(self)))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.left = 2**62
        self.holds = False
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            node = socket.create_connection(("127.0.0.1", self._port))
            threading.Thread(target=self._there, args=(client, node), daemon=True).start()
            threading.Thread(target=_copy, args=(node, client), daemon=True).start()

    def _there(self, client: socket.socket, node: socket.socket) -> None:
        try:
            while data := client.recv(64 * KIB):
                if len(data) > self.left:
                    if self.holds:
                        node.sendall(data[: self.left])
                        # Until the sender gives up.
                        while client.recv(64 * KIB):
                            continue
                    break
                self.left -= len(data)
                node.sendall(data)
        except OSError:
            pass
        for each in (client, node):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(64 * KIB):
            target.sendall(data)
    except OSError:
        return


@pytest.fixture
def gated(make_node: MakeNode) -> Iterator[tuple[Agent, Agent, Gate]]:
    """Two running nodes; the second is reached through a gate."""
    source, target = make_node("s01"), make_node("s02")
    target.start()
    gate = Gate(target.port)
    introduce(source, target, nodes=(member(source), member(target, gate.url)), factor=2)
    source.start()
    yield source, target, gate
    gate.close()


def test_a_file_is_copied_and_both_nodes_say_so(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    assert holds(target, stored, CONTENT)
    (copy,) = told(source, stored.file_id)["copies"]
    assert verify_receipt(copy["receipt"], target.node_keys).file_id == stored.file_id
    assert pushes(source) == []
    assert pushes(target) == []
    (line,) = worker.logged("pushed")
    assert {key: line[key] for key in ("file_id", "path", "size", "source", "outcome")} == {
        "file_id": stored.file_id,
        "path": str(stored.path),
        "size": len(CONTENT),
        "source": "s01",
        "outcome": "done",
    }
    worker.wait_for(lambda: worker.report().pushes.pushed == 1)
    metrics = requests.get(f"{source.url}/metrics", timeout=60).text
    assert "portside_copies 1.0" in metrics
    assert 'portside_pushes{state="waiting"} 0.0' in metrics


def test_the_tokens_replicas_decide_where_copies_go(
    make_node: MakeNode, start_worker: StartWorker
) -> None:
    nodes = [make_node(f"s0{number}") for number in (1, 2, 3)]
    introduce(*nodes, factor=3)
    for node in nodes:
        node.start()
    start_worker(nodes[0])
    named = put(nodes[0], b"named", replicas=("s03", "s01"))
    everywhere = put(nodes[0], b"everywhere")
    wait_until(lambda: pushes(nodes[0]) == [], *nodes)
    assert copies(nodes[0], named) == ["s03"]
    assert sorted(copies(nodes[0], everywhere)) == ["s02", "s03"]


def test_what_is_stored_while_the_worker_is_away_is_copied_when_it_is_back(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    stored = [put(source, bytes([number]) * 1000) for number in range(5)]
    source.kill()
    worker = start_worker(source)
    wait_until(lambda: pushes(source) == [], source, target)
    worker.stop()
    source.start()
    for number, each in enumerate(stored):
        assert holds(target, each, bytes([number]) * 1000)
        assert copies(source, each) == ["s02"]


def test_a_push_that_breaks_off_goes_on_where_it_was(
    gated: tuple[Agent, Agent, Gate], start_worker: StartWorker
) -> None:
    source, target, gate = gated
    gate.left = 2 * MIB + 5
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: worker.logged("push failed"), source, target)
    wait_until(lambda: rows(target, "SELECT 1 FROM uploads WHERE offset > 0"), source, target)
    gate.left = 2**62
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    assert holds(target, stored, CONTENT)
    (line,) = worker.logged("pushed")
    assert 0 < line["sent"] < len(CONTENT)


def test_a_push_survives_the_crash_of_its_sender(
    gated: tuple[Agent, Agent, Gate], start_worker: StartWorker
) -> None:
    source, target, gate = gated
    gate.left, gate.holds = 2 * MIB, True
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: rows(target, "SELECT 1 FROM uploads WHERE offset > 0"), source, target)
    worker.kill()
    gate.left, gate.holds = 2**62, False
    worker.start()
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    assert holds(target, stored, CONTENT)


def test_a_file_that_is_deleted_meanwhile_is_copied_no_further_and_forgotten_there(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    # So slow that it takes a minute: it must be cut.
    path = source.home / "agent.toml"
    path.write_text(f"push_rate = {64 * KIB}\n" + path.read_text())
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: target.leftovers() != [], source, target)
    delete(source, stored)
    wait_until(lambda: worker.logged("push dropped"), source, target)
    wait_until(lambda: target.leftovers() == [], source, target)
    wait_until(lambda: pushes(source) == [], source, target)
    assert not knows(target, stored)


def test_a_push_that_has_not_begun_goes_with_its_file(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    stored = put(source)
    assert len(pushes(source)) == 1
    delete(source, stored)
    start_worker(source)
    wait_until(lambda: pushes(source) == [], source, target)
    assert target.visible_files() == []
    assert target.leftovers() == []
    assert not knows(target, stored)


def test_what_came_of_a_push_goes_with_a_file_that_is_deleted_while_no_worker_runs(
    gated: tuple[Agent, Agent, Gate], start_worker: StartWorker
) -> None:
    source, target, gate = gated
    gate.left, gate.holds = 2 * MIB, True
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: rows(target, "SELECT 1 FROM uploads WHERE offset > 0"), source, target)
    worker.kill()
    delete(source, stored)
    gate.left, gate.holds = 2**62, False
    assert target.leftovers() != []
    worker.start()
    wait_until(lambda: target.leftovers() == [], source, target)
    wait_until(lambda: pushes(source) == [], source, target)


def test_a_damaged_source_is_found_out_and_not_sent_again_and_again(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    stored = put(source)
    path = source.root / "uploads" / stored.path
    path.write_bytes(b"X" + CONTENT[1:])
    worker = start_worker(source)
    wait_until(
        lambda: rows(source, "SELECT 1 FROM files WHERE state = 'QUARANTINED'"), source, target
    )
    wait_until(lambda: worker.logged("push failed"), source, target)
    assert "in quarantine" in worker.logged("push failed")[0]["error"]
    assert len(worker.logged("push failed")) == 1
    assert target.visible_files() == []
    assert target.leftovers() == []


def test_a_source_that_became_shorter_is_found_out(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    stored = put(source)
    os.truncate(source.root / "uploads" / stored.path, 1000)
    start_worker(source)
    wait_until(
        lambda: rows(source, "SELECT 1 FROM files WHERE state = 'QUARANTINED'"), source, target
    )
    assert target.visible_files() == []


def test_what_is_hopeless_is_listed_and_can_be_tried_again(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    taken = put(source, b"first", layout="named", name="same.bin", replicas=("s02",))
    target.mint()
    there = target.put("same.bin", b"other", target.mint(layout="named", name="same.bin"))
    assert there.status_code == 201
    worker = start_worker(source)
    wait_until(lambda: [push[1] for push in pushes(source)] == ["DEAD"], source, target)
    listed = worker.command("pushes", "list").stdout
    assert "given up" in listed
    assert "name-taken" in listed
    assert taken.file_id in listed
    worker.wait_for(lambda: "pushes-dead" in str(worker.report().warnings))
    stored = StoredFile.model_validate_json(there.content)
    url = f"{target.url}/api/v1/files/{stored.file_id}"
    requests.delete(url, headers=access(target, rights=("delete",)), timeout=60)
    assert worker.command("pushes", "retry").stdout == "1 pushes are tried again now\n"
    wait_until(lambda: copies(source, taken) == ["s02"], source, target)
    assert worker.command("pushes", "list").stdout == "every push is made\n"
    unknown = worker.command("pushes", "drop", "nothing")
    assert (unknown.returncode, "no push has the id nothing" in unknown.stderr) == (1, True)


def test_a_node_that_is_away_gets_its_copies_when_it_is_back(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    target.kill()
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: worker.logged("push failed"), source)
    assert pushes(source)[0][1] == "WAITING"
    target.start()
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)


def test_a_receipt_that_is_not_the_targets_does_not_count(
    make_node: MakeNode, start_worker: StartWorker
) -> None:
    source, target = make_node("s01"), make_node("s02")
    forged = member(target).model_copy(update={"key": SigningKey.generate("s02").public()})
    introduce(target, source)
    introduce(source, nodes=(member(source), forged), factor=2)
    source.start()
    target.start()
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: worker.logged("push failed"), source, target)
    assert "receipt doesn't count" in worker.logged("push failed")[0]["error"]
    assert copies(source, stored) == []


def test_after_a_reindex_copies_are_made_sure_of_without_sending_them_again(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    worker.stop()
    source.kill()
    for path in (source.root / "state").glob("index.sqlite*"):
        path.unlink()
    assert worker.command("reindex").returncode == 0
    # And what lets the target take them.
    assert rows(source, "SELECT count(proof) FROM pushes") == [(1,)]
    source.start()
    worker.start()
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    assert [line["sent"] for line in worker.logged("pushed")] == [len(CONTENT), 0]
    assert worker.command("fsck").returncode == 0
    # A copy makes no copies: its own node's index has nothing to order.
    target.kill()
    for path in (target.root / "state").glob("index.sqlite*"):
        path.unlink()
    assert Worker(target).command("reindex").returncode == 0
    assert pushes(target) == []
    assert Worker(target).command("fsck").returncode == 0


def test_a_commit_that_a_crash_cut_short_is_copied_all_the_same(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    stored = put(source)
    source.kill()
    # As it was after the data's rename and before the row.
    change(source, "UPDATE files SET state = 'PENDING'")
    source.start()
    start_worker(source)
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)


def test_leases_end_with_the_targets_receipt_or_the_reason_why_not(
    make_node: MakeNode, start_worker: StartWorker
) -> None:
    source, target = make_node("s01"), make_node("s02")
    introduce(source, target)
    source.start()
    target.start()
    stored = put(source)
    with outbox(source) as orders:
        for _ in range(2):
            proof = order_of(stored, source, target)
            orders.order(stored.file_id, "s02", "lease-1", 1 * MIB, proof)
        orders.order("0" * 32, "s02", "lease-2")
        orders.order(stored.file_id, "s09", "lease-3")
        worker = start_worker(source)
        leases = ["lease-1", "lease-2", "lease-3"]
        wait_until(lambda: len(orders.ended(leases)) == 3, source, target)
        done, missing, failed = sorted(orders.ended(leases), key=lambda each: each.lease_id)
        assert (done.outcome, missing.outcome, failed.outcome) == ("done", "missing", "failed")
        assert done.receipt is not None
        assert verify_receipt(done.receipt, target.node_keys).file_id == stored.file_id
        assert "no other node 's09'" in failed.detail
        assert orders.lag() == Lag(0, 0.0)
        orders.forget(leases)
        assert orders.ended(leases) == []
    assert copies(source, stored) == ["s02"]
    assert worker.report().pushes.dead == 0


def test_a_copy_that_is_removed_leaves_no_tombstone_and_may_come_back(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    worker = start_worker(source)
    token = source.mint()
    stored = StoredFile.model_validate_json(source.put("a.bin", CONTENT, token).content)
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    for node in (source, target):
        database = Database(node.root / "state" / "index.sqlite")
        settings = load(node.home / "agent.toml")
        if node is source:
            assert remove_copy(settings, database, stored.file_id)
        assert remove_copy(settings, database, "0" * 32) is False
        database.close()
    assert not knows(source, stored)
    assert source.visible_files() == []
    assert source.leftovers() == []
    assert worker.command("fsck").returncode == 0
    # Its token is used all the same.
    again = source.put("b.bin", b"other", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    start_worker(target)
    with outbox(target) as orders:
        orders.order(stored.file_id, "s01", "back", proof=order_of(stored, target, source))
        wait_until(lambda: orders.ended(["back"]), source, target)
        assert orders.ended(["back"])[0].outcome == "done"
    assert holds(source, stored, CONTENT)


def test_the_control_plane_is_brought_every_receipt(
    make_node: MakeNode, start_worker: StartWorker
) -> None:
    source, target = make_node("s01"), make_node("s02")
    with Receiver() as control:
        introduce(source, target, factor=2, control_url=control.origin)
        source.start()
        target.start()
        stored = put(source, replicas=("s02",))
        # With a control plane nothing is copied but what a token or a lease says.
        put(source, b"other")
        for node in (source, target):
            start_worker(node)

        def brought() -> list[bytes]:
            return [each.body for each in control.received if each.path == "/api/v1/files"]

        wait_until(lambda: len(brought()) == 3, source, target)
        wait_until(
            lambda: not any(rows(node, "SELECT 1 FROM deliveries") for node in (source, target)),
            *(source, target),
        )
    receipts = [FileReceipt.model_validate_json(each).receipt for each in brought()]
    keys = source.node_keys.model_copy(
        update={"keys": (*source.node_keys.keys, *target.node_keys.keys)}
    )
    told_of = [verify_receipt(each, keys) for each in receipts]
    assert sorted(each.iss for each in told_of if each.file_id == stored.file_id) == ["s01", "s02"]
    assert pushes(source) == []


def test_a_worker_that_is_stopped_in_a_push_ends_at_once_and_loses_nothing(
    pair: tuple[Agent, Agent], start_worker: StartWorker
) -> None:
    source, target = pair
    path = source.home / "agent.toml"
    slow = f"push_rate = {64 * KIB}\n"
    path.write_text(slow + path.read_text())
    worker = start_worker(source)
    stored = put(source)
    wait_until(lambda: target.leftovers() != [], source, target)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
    assert pushes(source)[0][1:3] == ("WAITING", 0)
    path.write_text(path.read_text().removeprefix(slow))
    worker.start()
    wait_until(lambda: copies(source, stored) == ["s02"], source, target)
    assert holds(target, stored, CONTENT)
