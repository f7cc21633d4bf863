"""What killed uploads elsewhere: workers shot at 90 s, crashes in mid-upload, hung processes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from testinfra.host import Host

from portside.quantities import MIB
from tests.support.lab.control_plane import wait_for
from tests.support.lab.logs import log_of
from tests.support.lab.requests import Node, read_answer

AGENT = "portside-agent.service"
FOUND_WITHIN = 180
"""Seconds in which a hung worker has to be found."""
HASTY = 20
MARGIN = 60
"""Seconds beyond gunicorn's timeout in which another worker answers."""


def _gunicorn_timeout(host: Host) -> int:
    found = re.search(
        r"^timeout = (\d+)$", host.file("/etc/portside/gunicorn.conf.py").content_string, re.M
    )
    assert found is not None
    return int(found[1])


def _worker_pid(host: Host) -> int | None:
    """None while the next one hasn't been started."""
    process = host.check_output(f"systemctl show --value -p MainPID {AGENT}")
    # The supervisor's latest generation, and that one's worker.
    for _ in range(2):
        children = host.check_output(f"cat /proc/{process}/task/{process}/children").split()
        if not children:
            return None
        process = children[-1]
    return int(process)


def _trickle(node: Node, seconds: float) -> None:
    """An upload that takes longer than gunicorn's timeout, a few bytes at a time."""
    content = os.urandom(400)
    with node.open_put("slow.bin", len(content), node.mint()) as connection:
        for position in range(0, len(content), 20):
            connection.sendall(content[position : position + 20])
            time.sleep(seconds / 20)
        answer = read_answer(connection)
    assert answer.status == 201, answer.body
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(content).hexdigest()


def _hang_and_be_found(node: Node, host: Host) -> float:
    """Stop the worker process as a whole; returns the seconds until another one answers."""
    hung = _worker_pid(host)
    host.check_output(f"kill -STOP {hung}")
    started = time.monotonic()
    while time.monotonic() - started < FOUND_WITHIN:
        if _worker_pid(host) not in (hung, None) and node.is_ready():
            return time.monotonic() - started
        time.sleep(1)
    raise AssertionError(f"the worker still hangs after {FOUND_WITHIN} s")


@pytest.fixture
def hasty(nodes: Mapping[str, Host]) -> Iterator[int]:
    """s01 and s02 with a timeout of gunicorn's that a test can wait for; theirs is minutes."""
    shipped = {_gunicorn_timeout(nodes[node_id]) for node_id in ("s01", "s02")}
    assert all(HASTY < each <= FOUND_WITHIN - MARGIN for each in shipped)
    (before,) = shipped
    try:
        for node_id in ("s01", "s02"):
            _set_gunicorn_timeout(nodes[node_id], before, HASTY)
        yield HASTY
    finally:
        for node_id in ("s01", "s02"):
            _set_gunicorn_timeout(nodes[node_id], HASTY, before)


def _set_gunicorn_timeout(host: Host, before: int, wanted: int) -> None:
    change = f"s/^timeout = {before}$/timeout = {wanted}/"
    host.check_output(f"sed -i '{change}' /etc/portside/gunicorn.conf.py")
    host.check_output(f"systemctl restart {AGENT}")
    assert _gunicorn_timeout(host) == wanted


def test_a_slow_upload_outlives_the_timeout_that_finds_a_hung_worker(
    hasty: int, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    for node_id in ("s01", "s02"):
        talk[node_id].wait_until_ready()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(_trickle, talk["s01"], hasty + 10)
        found = pool.submit(_hang_and_be_found, talk["s02"], nodes["s02"])
        slow.result()
        assert found.result() < hasty + MARGIN


def _staged(host: Host) -> frozenset[str]:
    return frozenset(host.file("/srv/portside/staging").listdir())


def test_a_killed_agent_leaves_no_partial_file_and_starts_clean(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], at_rest: Mapping[str, frozenset[str]]
) -> None:
    node, host = talk["s03"], nodes["s03"]
    before = host.check_output("find /srv/portside/uploads -type f | sort")
    connection = node.open_put("killed.bin", 200 * MIB, node.mint())
    connection.sendall(bytes(50 * MIB))
    # All of this may still be on its way: nginx and the sockets in between hold some.
    wait_for("it is being written", 60, lambda: _staged(host) - at_rest["s03"] or None)
    host.check_output(f"systemctl kill --kill-whom=all -s KILL {AGENT}")
    connection.close()
    node.wait_until_ready()
    # Removed by the agent's start, or before it by the worker's housekeeping.
    assert _staged(host) == at_rest["s03"]
    assert host.check_output("find /srv/portside/uploads -type f | sort") == before
    assert node.put("after.bin", b"content").status == 201


def test_no_token_is_in_any_log(talk: Mapping[str, Node], nodes: Mapping[str, Host]) -> None:
    node, host = talk["s01"], nodes["s01"]
    token = node.mint()
    assert node.put("a.bin", b"x", token).status == 201
    assert node.ask("GET", f"/api/v1/files/0?token={token}").status == 404
    signature = token.rsplit(".", 1)[1]
    for command in ("journalctl -o cat", "cat /var/log/nginx/access.log /var/log/nginx/error.log"):
        assert signature not in log_of(host, command)


def test_root_can_rebuild_a_lost_index_without_locking_the_agent_out(
    talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    node, host = talk["s02"], nodes["s02"]
    stored = node.put("indexed.bin", b"content")
    assert stored.status == 201, stored.body
    found = f"/api/v1/files/{json.loads(stored.body)['file_id']}"
    host.check_output(f"systemctl stop {AGENT} portside-agent-worker")
    host.check_output("rm /srv/portside/state/index.sqlite*")
    host.check_output("/opt/portside/current/venv/bin/portside-agent reindex")
    owners = host.check_output("stat -c %U /srv/portside/state/index.sqlite*").split()
    assert set(owners) == {"portside"}
    host.check_output(f"systemctl start {AGENT} portside-agent-worker")
    node.wait_until_ready()
    rebuilt = json.loads(node.ask("GET", found).body)
    assert {name: rebuilt[name] for name in json.loads(stored.body)} == json.loads(stored.body)
    assert node.put("after.bin", b"content").status == 201
