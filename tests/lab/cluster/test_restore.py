"""A control plane that is older than its nodes, or empty, soon knows what they have."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from testinfra.host import Host

from deploys import layout
from tests.support.lab.control_plane import (
    CONTROL,
    SERVICES,
    ControlPlane,
    holders_of,
    wait_for,
)
from tests.support.lab.requests import Node

FILES = 100
OWNERS = ("alice", "bob", "carol", "dave")
PATIENCE = 60.0
"""Seconds for what takes two heartbeats of three seconds, once the nodes have found it again."""

AS_ITSELF = f"runuser -u {layout.CONTROL_USER} -- {layout.CONTROL_COMMAND}"
RESTORE = f"{layout.BACKUP_COMMAND} restore"
ASIDE = f"{layout.CONTROL_DATABASE}.of-the-lab"

Listed = dict[str, tuple[str, str, str]]
"""Owner, path and state of files by their ids."""


@pytest.fixture(scope="module")
def backup(control: ControlPlane, nodes: Mapping[str, Host]) -> str:
    """A backup of the control plane from before the files below."""
    control.wait_until_healthy()
    host = nodes[CONTROL]
    host.check_output(f"systemctl start {layout.BACKUP_SERVICE}")
    newest = host.check_output(f"ls {layout.CONTROL_BACKUPS} | tail -n 1")
    return f"{layout.CONTROL_BACKUPS}/{newest}"


@pytest.fixture(scope="module")
def stored(backup: str, control: ControlPlane, talk: Mapping[str, Node]) -> Iterator[Listed]:
    """Files of several owners, stored since the backup, each with all its copies."""
    run = secrets.token_hex(4)

    def store(number: int) -> str:
        content = os.urandom(1000)
        name = f"{run}-{number}.bin"
        session = control.session(owner=OWNERS[number % len(OWNERS)], name=name, size=len(content))
        answer = talk[session.node_id].put(name, content, session.token)
        assert answer.status == 201, answer.body
        return session.file_id

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(store, range(FILES)))
    yield wait_for("every file is safe", 180, lambda: _known(control, ids))
    for file_id in ids:
        control.delete(file_id)


def _listed(control: ControlPlane, ids: set[str]) -> Listed:
    """Those of the files that are listed; they are the newest ones."""
    answer = control.ask("GET", "/api/v1/files?namespace=lab&limit=1000")
    assert answer.status == 200, answer.body
    return {
        file["file_id"]: (file["owner"], file["path"], file["state"])
        for file in json.loads(answer.body)["files"]
        if file["file_id"] in ids
    }


def _known(control: ControlPlane, ids: set[str]) -> Listed | None:
    """All of them, once all are listed and safe."""
    found = _listed(control, ids)
    safe = sum(state == "safe" for _, _, state in found.values())
    return found if safe == len(ids) else None


def _knows_again(control: ControlPlane, stored: Listed) -> None:
    """Wait until each file is listed as it was, with its owner."""
    began = time.monotonic()
    found = wait_for("all is known again", PATIENCE, lambda: _known(control, set(stored)))
    print(f"{len(found)} files known again after {time.monotonic() - began:.1f} s")
    assert found == stored


def test_what_was_stored_since_the_backup_is_listed_and_owned_again(
    backup: str, stored: Listed, control: ControlPlane, nodes: Mapping[str, Host]
) -> None:
    paths = [path for _, path, _ in stored.values()]
    before = holders_of(nodes, paths)
    host = nodes[CONTROL]
    done = host.check_output(f"{RESTORE} {backup}")
    kept = done.partition("kept as ")[2].split()[0]
    try:
        control.wait_until_healthy()
        _knows_again(control, stored)
        assert holders_of(nodes, paths) == before, "nothing was lost, nothing moved"
        host.check_output(f"{AS_ITSELF} check --counters")
    finally:
        host.check_output(f"rm -f {kept} {kept}-wal {kept}-shm")


@pytest.fixture
def empty(control: ControlPlane, nodes: Mapping[str, Host]) -> Iterator[ControlPlane]:
    """The control plane with an empty database, and an app of its own; the old one comes back."""
    host, services = nodes[CONTROL], " ".join(SERVICES)
    # What a run that was broken off set aside is what there was.
    if not host.file(ASIDE).exists:
        host.check_output(f"systemctl stop {services}")
        for suffix in ("", "-wal", "-shm"):
            host.run(f"mv {layout.CONTROL_DATABASE}{suffix} {ASIDE}{suffix}")
    try:
        host.check_output(f"{AS_ITSELF} migrate; systemctl start {services}")
        key = host.check_output(f"{AS_ITSELF} app create lab-empty --scope admin").split()[-1]
        yield replace(control, key=key)
    finally:
        done = host.check_output(f"{RESTORE} {ASIDE}")
        kept = done.partition("kept as ")[2].split()[0]
        host.check_output(f"rm -f {ASIDE} {ASIDE}-wal {ASIDE}-shm {kept} {kept}-wal {kept}-shm")
        control.wait_until_healthy()


def test_an_empty_catalogue_is_rebuilt_and_no_node_goes_meanwhile(
    stored: Listed, empty: ControlPlane, nodes: Mapping[str, Host]
) -> None:
    paths = [path for _, path, _ in stored.values()]
    before = holders_of(nodes, paths)

    def may_go(node_id: str) -> int:
        return empty.ask("POST", f"/api/v1/nodes/{node_id}/state", {"state": "retired"}).status

    # Nobody knows yet what it has; then it is known that it has files that nobody else may have.
    storage = [node_id for node_id in nodes if node_id != CONTROL]
    assert {may_go(node_id) for node_id in storage} <= {404, 409, 503}
    _knows_again(empty, stored)
    empty.wait_until_healthy()
    assert {may_go(node_id) for node_id in storage} == {409}
    assert holders_of(nodes, paths) == before, "nothing was lost, nothing moved"
    nodes[CONTROL].check_output(f"{AS_ITSELF} check --counters")
