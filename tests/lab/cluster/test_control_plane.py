"""The control plane on its own node: provisioned with the others, it places, watches and finds.

Everything here goes through its real nginx, TLS, systemd units and their sandbox.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.wire.control import Session
from tests.support.lab.control_plane import SERVICES, TIMER, ControlPlane
from tests.support.lab.deploy import deploy
from tests.support.lab.machine import open_ports
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node

DEADLINE = 60.0
"""Seconds for what takes a few heartbeats."""


def _until(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.5)


@pytest.fixture
def healthy(control: ControlPlane) -> ControlPlane:
    """With every node heard of and healthy."""
    control.wait_until_healthy()
    return control


def test_it_is_ready_behind_its_own_certificate(control: ControlPlane) -> None:
    answer = control.ask("GET", "/health/ready")
    assert (answer.status, json.loads(answer.body)["reasons"]) == (200, [])
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert control.ask("GET", "/uploads/").slug == "not-found"


@pytest.mark.usefixtures("healthy")
def test_every_node_is_heard_and_known_by_its_key(nodes: Mapping[str, Host]) -> None:
    rosters = {
        node_id: json.loads(host.check_output("cat /etc/portside/roster.json"))
        for node_id, host in nodes.items()
    }
    assert set(rosters) == {"c01", "s01", "s02", "s03"}
    assert all(roster == rosters["c01"] for roster in rosters.values())
    for known in rosters["c01"]["nodes"]:
        shown = nodes[known["node_id"]].check_output(
            "/opt/portside/current/venv/bin/portside-agent identity"
        )
        assert json.loads(shown) == known["key"]


@pytest.mark.parametrize("script", ["storage_node.py", "control_node.py"])
def test_a_part_of_the_site_deployed_alone_changes_nothing_after_it(script: str) -> None:
    run = deploy(LAB, script=script)
    assert run.succeeded, run.output
    assert (run.hosts("success"), run.hosts("error")) == ({}, {})


@pytest.mark.parametrize("service", [*SERVICES, TIMER])
def test_services_run_and_come_back_after_a_boot(nodes: Mapping[str, Host], service: str) -> None:
    assert nodes["c01"].service(service).is_running
    assert nodes["c01"].service(service).is_enabled


# In tenths: 2.0 is what was asked for; this close a dropped directive shows.
@pytest.mark.parametrize("service", SERVICES)
def test_services_are_sandboxed(nodes: Mapping[str, Host], service: str) -> None:
    host = nodes["c01"]
    assert host.run(f"systemd-analyze security --threshold=14 {service}").rc == 0
    pid = host.check_output(f"systemctl show --property MainPID --value {service}")
    status = host.check_output(f"cat /proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    inside = f"nsenter --target {pid} --mount --net"
    assert host.run(f"{inside} touch /etc/portside/x").rc != 0
    assert host.run(f"{inside} test -w /var/lib/portside-control").rc == 0


@pytest.mark.parametrize(
    ("path", "owner", "mode"),
    [
        ("/etc/portside/control.toml", "root:portside-control", 0o640),
        ("/etc/portside/issuer.json", "portside-control:portside-control", 0o600),
        ("/var/lib/portside-control", "portside-control:portside-control", 0o700),
        ("/var/backups/portside-control", "portside-control:portside-control", 0o700),
    ],
)
def test_secrets_and_state_are_for_the_service_alone(
    nodes: Mapping[str, Host], path: str, owner: str, mode: int
) -> None:
    found = nodes["c01"].file(path)
    assert (f"{found.user}:{found.group}", found.mode) == (owner, mode)


def test_nothing_else_listens(nodes: Mapping[str, Host]) -> None:
    assert open_ports(nodes["c01"]) == {"22", "80", "443"}


def test_a_session_leads_to_a_file_on_two_nodes(
    healthy: ControlPlane, talk: Mapping[str, Node]
) -> None:
    content = os.urandom(3_000_000)
    opened = healthy.ask(
        "POST",
        "/api/v1/upload/sessions",
        {"owner": "user-7", "name": "a.bin", "namespace": "lab", "size": len(content)},
    )
    assert opened.status in (200, 201), opened.body
    session = Session.model_validate_json(opened.body)
    stored = talk[session.node_id].put("a.bin", content, session.token)
    assert stored.status == 201, stored.body

    _until(
        lambda: healthy.file(session.file_id).state == "safe",
        lambda: healthy.file(session.file_id),
    )
    copies = [copy for copy in healthy.file(session.file_id).copies if copy.state == "present"]
    assert len({copy.node_id for copy in copies}) == 2

    answer = healthy.ask("GET", f"/api/v1/files/{session.file_id}/url")
    assert answer.status == 302
    place = urlsplit(answer.headers["Location"])
    served = talk[str(place.hostname).partition(".")[0]].ask("GET", place.path)
    assert hashlib.sha256(served.body).digest() == hashlib.sha256(content).digest()
    assert healthy.ask("DELETE", f"/api/v1/files/{session.file_id}").status == 200

    def still_served() -> list[str]:
        paths = [(copy.node_id, urlsplit(copy.url).path) for copy in copies]
        return [node for node, path in paths if talk[node].ask("GET", path).status != 410]

    _until(lambda: not still_served(), still_served)


def test_a_node_is_drained_and_taken_back(healthy: ControlPlane) -> None:
    def fab(task: str) -> None:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("fab")), task, "s03"],
            env={**os.environ, "PORTSIDE_CLUSTER": str(LAB)},
            capture_output=True,
            text=True,
            check=False,
            cwd=PROJECT_ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    fab("drain")
    try:
        assert healthy.states()["s03"][0] == "draining"
    finally:
        fab("undrain")
    healthy.wait_until_healthy()


def test_a_backup_is_made_and_can_be_restored(
    healthy: ControlPlane, nodes: Mapping[str, Host]
) -> None:
    host = nodes["c01"]
    host.check_output("systemctl start portside-control-backup.service")
    newest = host.check_output("ls /var/backups/portside-control | tail -n 1")
    host.check_output(
        f"/usr/local/libexec/portside-control-backup restore /var/backups/portside-control/{newest}"
    )
    # The app of these tests was in it, and nodes are heard again.
    _until(lambda: healthy.ask("GET", "/api/v1/nodes").status == 200, lambda: newest)
    healthy.wait_until_healthy()
