"""What the cluster does by itself on real nodes: copies, repair, drain, and life without control.

Nothing here asks the control plane alone: whether a copy is there is asked of the nodes.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from testinfra.host import Host

from deploys import layout
from deploys.layout import PROJECT_ROOT
from portside.cluster.file import Cluster
from portside.quantities import MIB
from portside.wire.control import FileView, Session
from portside.wire.files import StoredFile
from tests.support.lab.control_plane import (
    CONTROL,
    SERVICES,
    ControlPlane,
    counting_copies,
    digest_on_disk,
    holders,
    holders_of,
    serves,
    wait_for,
    wait_until_safe,
)
from tests.support.lab.requests import Node, read_answer

MINUTE = 60.0
OPEN_SESSIONS = """
import sqlite3, sys
query = "SELECT session_id FROM sessions WHERE state = 'open'"
for (each,) in sqlite3.connect(sys.argv[1]).execute(query):
    print(each)
"""
PROGRAMS = f"{layout.CONTROL_CURRENT}/venv/bin"


def test_a_file_is_safe_on_two_nodes_outlives_the_first_and_is_copied_to_the_third(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    # The node with Debian 12: large files go to the others in other tests.
    session = _session_on("s01", control, name="lab.bin", size=300 * MIB)
    stored = _upload_body(talk, session, os.urandom(300 * MIB))
    wait_until_safe(control, session.file_id)
    two = holders(nodes, stored.path)
    assert len(two) == 2
    with ThreadPoolExecutor() as pool:
        digests = pool.map(lambda each: digest_on_disk(nodes[each], stored.path), two)
        assert set(digests) == {stored.sha256}
    first = session.node_id
    (second,) = two - {first}
    (third,) = {"s01", "s02", "s03"} - two

    with _powered_off(first):
        wait_for(
            "the file is served by the node that is left",
            60,
            lambda: control.place(session.file_id).node_id == second or None,
        )
        assert serves(talk[second].host, talk[second].trust, str(stored.path))
        left = {node_id: host for node_id, host in nodes.items() if node_id != first}
        wait_for(
            "the third node has it",
            180,
            lambda: holders(left, stored.path) == {second, third} or None,
        )
        wait_until_safe(control, session.file_id)
        assert digest_on_disk(nodes[third], stored.path) == stored.sha256
    control.wait_until_healthy()
    control.delete(session.file_id)
    wait_for("no node has it", 60, lambda: not holders(nodes, stored.path) or None)


def test_a_drain_under_running_uploads_leaves_every_file_on_two_other_nodes(
    control: ControlPlane,
    cluster: Cluster,
    talk: Mapping[str, Node],
    nodes: Mapping[str, Host],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [_upload_bytes(control, talk, 20 * MIB) for _ in range(12)]
    for each in before:
        wait_until_safe(control, each.file_id)
    paths = [str(each.path) for each in before]
    assert any("s01" in each for each in holders_of(nodes, paths))
    running = _session_on("s01", control)
    # The drained node is asked first: a copy is only taken away after another one is there.
    hosts = [talk[each].host for each in ("s01", "s02", "s03")]

    with counting_copies(hosts, talk["s01"].trust, paths) as counted:
        slow = _SlowUpload(talk["s01"], running, 40 * MIB)
        control.set_state("s01", "draining")
        began, during = time.monotonic(), []
        while slow.is_running():
            during.append(_upload_bytes(control, talk, 4 * MIB))
            time.sleep(0.5)
        after_drain = slow.stored()
        everything = [*before, *during, after_drain]
        wait_for(
            "the drained node holds nothing",
            180,
            lambda: set(_holders(nodes, everything)) == {frozenset({"s02", "s03"})} or None,
        )
        took = time.monotonic() - began
    try:
        assert min(counted.fewest.values()) >= 2, counted
        assert {each.node_id for each in during} <= {"s02", "s03"}
        assert {control.file(each.file_id).state for each in everything} == {"safe"}
    finally:
        control.set_state("s01", "active")
    with capsys.disabled():
        print(f"\ndrain of s01: {len(everything)} files in {took:.0f} s, {counted}")


def test_a_minute_without_the_control_plane_stops_nothing_but_new_sessions(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    sessions = [control.session(name="minute.bin", size=4 * MIB) for _ in range(40)]
    stored: list[StoredFile] = []
    with _without_control(nodes[CONTROL]):
        until = time.monotonic() + MINUTE
        for session in sessions:
            stored.append(_upload_body(talk, session, os.urandom(4 * MIB)))
            assert serves(talk[session.node_id].host, talk["s01"].trust, str(stored[-1].path))
            time.sleep(max(0.0, (until - time.monotonic()) / (len(sessions) - len(stored) + 1)))
        wait_for(
            "each file has been pushed to a second node meanwhile",
            60,
            lambda: all(len(each) == 2 for each in _holders(nodes, stored)) or None,
        )
    views = [wait_until_safe(control, each.file_id) for each in stored]
    assert [_facts(view) for view in views] == [_facts(each) for each in stored]
    wait_for(
        "each file is on two nodes and no more",
        120,
        lambda: all(len(each) == 2 for each in _holders(nodes, stored)) or None,
    )
    control.wait_until_healthy()
    assert _open(nodes[CONTROL], sessions) == []
    nodes[CONTROL].check_output(f"{layout.CONTROL_COMMAND} check --counters")


def test_a_node_that_is_cut_off_and_comes_back_causes_no_copying(
    control: ControlPlane, cluster: Cluster, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    kept = [_upload_bytes(control, talk, 4 * MIB) for _ in range(6)]
    for each in kept:
        wait_until_safe(control, each.file_id)
    on_disk = _holders(nodes, kept)
    while_cut: list[StoredFile] = []
    for _ in range(3):
        sessions = [_session_on("s02", control) for _ in range(3)]
        with _cut_off(nodes["s02"], cluster.host(CONTROL)):
            wait_for(
                "s02 counts as down",
                60,
                lambda: control.nodes()["s02"].state == "down" or None,
            )
            while_cut += [_upload_body(talk, each, os.urandom(MIB)) for each in sessions]
        control.wait_until_healthy()
    for each in while_cut:
        wait_until_safe(control, each.file_id)
    wait_for(
        "what came meanwhile is on two nodes and no more",
        120,
        lambda: all(len(each) == 2 for each in _holders(nodes, while_cut)) or None,
    )
    assert _holders(nodes, kept) == on_disk


def _upload_body(talk: Mapping[str, Node], session: Session, body: bytes) -> StoredFile:
    sent = talk[session.node_id].put("lab.bin", body, session.token)
    assert sent.status == 201, sent.body
    stored = StoredFile.model_validate_json(sent.body)
    assert stored.sha256 == hashlib.sha256(body).hexdigest()
    return stored


def _upload_bytes(control: ControlPlane, talk: Mapping[str, Node], size: int) -> StoredFile:
    return _upload_body(talk, control.session(name="lab.bin", size=size), os.urandom(size))


def _session_on(node_id: str, control: ControlPlane, **wanted: Any) -> Session:
    """A session whose place is this node. The others it took to get there simply run out."""
    wish = wanted or {"name": "there.bin", "max_size": 64 * MIB}

    def ask() -> Session | None:
        session = control.session(**wish)
        return session if session.node_id == node_id else None

    return wait_for(f"a session on {node_id}", 60, ask)


class _SlowUpload:
    """An upload that is under way for a while, as through a slow line."""

    def __init__(self, node: Node, session: Session, size: int, seconds: float = 15) -> None:
        self._connection = node.open_put("slow.bin", size, session.token)
        self._thread = threading.Thread(target=self._send, args=(size, seconds))
        self._thread.start()

    def _send(self, size: int, seconds: float) -> None:
        pieces = 60
        for _ in range(pieces):
            self._connection.sendall(os.urandom(size // pieces))
            time.sleep(seconds / pieces)
        self._connection.sendall(bytes(size - size // pieces * pieces))

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def stored(self) -> StoredFile:
        self._thread.join()
        with self._connection:
            answer = read_answer(self._connection)
        assert answer.status == 201, answer.body
        return StoredFile.model_validate_json(answer.body)


def _holders(nodes: Mapping[str, Host], files: Sequence[StoredFile]) -> list[frozenset[str]]:
    return holders_of(nodes, [each.path for each in files])


def _facts(file: FileView | StoredFile) -> tuple[object, ...]:
    return file.file_id, file.path, file.size, file.sha256


def _open(host: Host, sessions: Sequence[Session]) -> list[str]:
    """The ids of those sessions that the control plane still waits for."""
    ask = f"{PROGRAMS}/python -I -c {shlex.quote(OPEN_SESSIONS)} {layout.CONTROL_DATABASE}"
    found = host.check_output(ask).split()
    return sorted({each.session_id for each in sessions} & set(found))


@contextmanager
def _powered_off(node_id: str) -> Iterator[None]:
    """The machine without power, and with power again."""
    subprocess.run(["lxc-stop", "--kill", "--name", f"portside-{node_id}"], check=True)
    try:
        yield
    finally:
        subprocess.run([sys.executable, "-m", "lab", "up"], cwd=PROJECT_ROOT, check=True)


@contextmanager
def _without_control(host: Host) -> Iterator[None]:
    host.check_output(f"systemctl stop {' '.join(SERVICES)}")
    try:
        yield
    finally:
        host.check_output(f"systemctl start {' '.join(SERVICES)}")


@contextmanager
def _cut_off(host: Host, other: str) -> Iterator[None]:
    """No packet from this node to the other one; it says nothing, as a broken line does."""
    address = host.check_output(f"getent ahostsv4 {other}").split()[0]
    host.check_output("nft add table inet cut")
    host.check_output(
        "nft add chain inet cut out '{ type filter hook output priority 0; policy accept; }'"
    )
    host.check_output(f"nft add rule inet cut out ip daddr {address} drop")
    try:
        yield
    finally:
        host.check_output("nft delete table inet cut")
