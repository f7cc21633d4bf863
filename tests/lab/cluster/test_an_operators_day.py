"""The verbs of every day on the lab's cluster, as an operator types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping

import pytest
from testinfra.host import Host

from portside.operator import node_lock
from tests.support.lab.control_plane import ControlPlane
from tests.support.lab.deploy import holding_the_lock
from tests.support.lab.places import LAB
from tests.support.lab.verbs import done, fab

RESTARTED = "portside-agent-worker"


def test_the_projects_own_tests_pass_on_every_node(control: ControlPlane) -> None:
    control.wait_until_healthy()
    told = json.loads(done(LAB, "verify", "--json"))
    assert told["passed"] and not told["unreached"]
    assert len(told["tests"]) > 30


def test_status_shows_each_node_and_what_lacks_copies(control: ControlPlane) -> None:
    control.wait_until_healthy()
    said = done(LAB, "status")
    rows = {line.split()[0]: line.split() for line in said.splitlines()}
    assert {"c01", "s01", "s02", "s03"} <= rows.keys()
    assert all("yes" in rows[each] for each in ("c01", "s01", "s02", "s03"))
    told = json.loads(done(LAB, "status", "--json"))
    assert told["control_plane"] == "answers"
    assert [each["trouble"] for each in told["nodes"]] == [[], [], [], []]


def test_the_doctor_finds_a_service_that_is_down_and_nothing_else(
    control: ControlPlane, nodes: Mapping[str, Host]
) -> None:
    control.wait_until_healthy()
    assert fab(LAB, "doctor").returncode == 0, fab(LAB, "doctor").stdout
    nodes["s02"].check_output("systemctl stop portside-agent-worker")
    try:
        ran = fab(LAB, "doctor")
        assert ran.returncode == 1
        assert "services: portside-agent-worker is inactive: `fab -H s02 logs`" in ran.stdout
        assert "s01: all is well" in ran.stdout
    finally:
        nodes["s02"].check_output("systemctl start portside-agent-worker")
    control.wait_until_healthy()


def test_logs_are_found_by_what_they_say() -> None:
    said = done(LAB, "-H", "s01", "logs", "--lines", "2000", "--grep", "roster received")
    head, *lines = said.splitlines()
    assert head == "== s01"
    assert lines and all("roster received" in line for line in lines)
    assert done(LAB, "-H", "s01", "logs", "--grep", "never said anywhere") == "== s01\n"


def test_a_restart_is_in_the_audit_log_and_the_node_is_ready_after_it(
    nodes: Mapping[str, Host], control: ControlPlane
) -> None:
    show = f"systemctl show --property=MainPID --value {RESTARTED}"
    before = nodes["s01"].check_output(show)
    assert f"s01: would restart {RESTARTED}" in done(
        LAB, "-H", "s01", "restart", "--only", RESTARTED, "--dry"
    )
    assert nodes["s01"].check_output(show) == before
    said = done(LAB, "-H", "s01", "restart", "--only", RESTARTED)
    assert said == f"s01: restarted {RESTARTED}, and ready\n"
    assert nodes["s01"].check_output(show) != before
    entries = json.loads(done(LAB, "-H", "s01", "audit", "--json", "--lines", "2"))["entries"]
    assert [(each["what"], each["outcome"] or each["event"]) for each in entries] == [
        (f"restart {RESTARTED}", "begun"),
        (f"restart {RESTARTED}", "done"),
    ]
    control.wait_until_healthy()


def _reload() -> subprocess.CompletedProcess[str]:
    return fab(LAB, "-H", "s01", "reload")


def _restart() -> subprocess.CompletedProcess[str]:
    return fab(LAB, "-H", "s01", "restart", "--only", RESTARTED)


@pytest.mark.parametrize("verb", [_reload, _restart])
def test_a_node_that_another_is_changing_is_left_alone(
    verb: Callable[[], subprocess.CompletedProcess[str]],
) -> None:
    with holding_the_lock(LAB, "s01", "alice@laptop"):
        ran = verb()
    assert ran.returncode == 1
    assert "s01 is being changed by alice@laptop since " in ran.stderr


def test_a_closed_node_is_left_alone_by_others_until_it_is_opened(
    nodes: Mapping[str, Host],
) -> None:
    host = nodes["s01"]
    done(LAB, "-H", "s01", "lock", "--why", "its disk is being replaced")
    try:
        assert "its disk is being replaced" in done(LAB, "-H", "s01", "lock")
        # As if somebody else had closed it.
        host.check_output(f"sed -i 's/{node_lock.me()}/alice@laptop/' {node_lock.CLOSED}")
        ran = _reload()
        assert ran.returncode == 1
        assert "s01 was closed by alice@laptop" in ran.stderr
        assert "its disk is being replaced; nothing was changed" in ran.stderr
        assert fab(LAB, "-H", "s01", "lock", "--release").returncode == 1
    finally:
        done(LAB, "-H", "s01", "lock", "--release", "--force")
    assert _reload().returncode == 0


def test_adding_a_node_that_is_there_proves_it_again(control: ControlPlane) -> None:
    control.wait_until_healthy()
    ran = fab(LAB, "add-node", "s01")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "s01: active, and takes uploads" in ran.stdout
