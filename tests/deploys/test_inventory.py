"""The inventory as pyinfra itself reads it: `pyinfra inventory ...` in the project's folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploys.layout import PROJECT_ROOT
from portside.operator.vagrant import VagrantError, VagrantMachine, machine
from tests.support.ssh_server import generate, ssh_server

CLUSTER = """
name: test
domain: example.net
ssh: {config: /dev/null, user: deploy, port: 2222, key: /keys/one}
nodes:
  s01: {}
  s02: {address: 192.0.2.7}
  c01: {}
  box1: {roles: [storage, control]}
control: {database: 'postgresql://portside@db.portside.test/portside'}
"""


def _pyinfra(cluster: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", "inventory", *arguments],
        cwd=PROJECT_ROOT,
        env={
            **os.environ,
            "PORTSIDE_CLUSTER": str(cluster),
            "PORTSIDE_SECRETS": str(cluster.parent / "secrets"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def hosts(tmp_path: Path) -> dict[str, dict[str, Any]]:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    done = _pyinfra(path, "debug-inventory", "--json")
    assert done.returncode == 0, done.stderr
    return {host["name"]: host for host in json.loads(done.stdout)}


def test_groups_follow_the_roles(hosts: dict[str, dict[str, Any]]) -> None:
    groups = {name: set(host["groups"]) & {"storage", "control"} for name, host in hosts.items()}
    assert groups == {
        "s01": {"storage"},
        "s02": {"storage"},
        "c01": {"control"},
        "box1": {"storage", "control"},
    }


def test_hosts_are_reached_by_their_ids_in_our_own_configuration(
    tmp_path: Path, hosts: dict[str, dict[str, Any]]
) -> None:
    data = hosts["s02"]["data"]
    assert (data["ssh_hostname"], data["ssh_port"]) == ("s02", 2222)
    assert data["ssh_key"] == "/keys/one"
    assert data["ssh_config_file"] == str(tmp_path / "secrets" / "test" / "ssh_config")


def test_only_pinned_host_keys_count(tmp_path: Path, hosts: dict[str, dict[str, Any]]) -> None:
    for host in hosts.values():
        assert host["data"]["ssh_strict_host_key_checking"] == "yes"
        assert host["data"]["ssh_known_hosts_file"] == f"{tmp_path}/secrets/test/known_hosts"


def test_pyinfra_finds_host_keys_and_way_in_one_file(tmp_path: Path) -> None:
    """What the connector makes of it, with a real server behind another one."""
    generate(tmp_path / "login")
    key = tmp_path / "login"
    with ssh_server(tmp_path, "node", key) as node, ssh_server(tmp_path, "gate", key) as gate:
        (tmp_path / "known").write_text(f"[127.0.0.1]:{gate.port} {gate.host_key}\n")
        (tmp_path / "config").write_text(
            f"UserKnownHostsFile {tmp_path}/known\nIdentityFile {key}\nUser {node.user}\n"
        )
        path = tmp_path / "cluster.yaml"
        path.write_text(
            f"name: test\ndomain: example.net\nssh: {{config: {tmp_path}/config, "
            f"host_keys: accept-new, jump: '{gate.user}@127.0.0.1:{gate.port}'}}\n"
            f"nodes: {{s01: {{address: 127.0.0.1, ssh: {{port: {node.port}}}}}}}\n"
        )
        done = _pyinfra(path, "exec", "-y", "--", "true")
        assert done.returncode == 0, done.stderr
        known = tmp_path / "secrets" / "test" / "known_hosts"
        other = generate(tmp_path / "other")
        known.write_text(f"[127.0.0.1]:{node.port} {other} s01\n")
        done = _pyinfra(path, "exec", "-y", "--", "true")
        assert done.returncode != 0
        assert "portside keys forget s01" in done.stderr + done.stdout
        assert "ssh-keygen -R" not in done.stderr + done.stdout


def test_only_root_goes_without_sudo(tmp_path: Path, hosts: dict[str, dict[str, Any]]) -> None:
    assert hosts["s01"]["data"]["_sudo"] is True
    path = tmp_path / "root.yaml"
    path.write_text(CLUSTER.replace("user: deploy, ", ""))
    done = _pyinfra(path, "debug-inventory", "--json")
    assert [host["data"]["_sudo"] for host in json.loads(done.stdout)] == [False] * 4


def test_a_broken_cluster_file_is_told_in_full_before_any_connection(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("name: test\ndomain: nodots\nnodes: {s01: {wieght: 2}, s02: {tier: warmish}}\n")
    done = _pyinfra(path, "deploys/storage_node.py", "-y")
    assert done.returncode == 1
    for mistake in ("domain: ", "nodes.s01.wieght: ", "nodes.s02.tier: "):
        assert mistake in done.stderr
    assert "Connecting" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


SSH_CONFIG = """
Host s01 s01.portside.test
  HostName 192.0.2.1
  User vagrant
  Port 2200
  IdentityFile /keys/lab
"""


def test_a_lab_machine_is_found_in_vagrants_dump(tmp_path: Path) -> None:
    (tmp_path / ".vagrant").mkdir()
    (tmp_path / ".vagrant" / "ssh-config").write_text(SSH_CONFIG)
    assert machine(tmp_path, "lab", "s01") == VagrantMachine(
        "192.0.2.1", 2200, "vagrant", Path("/keys/lab")
    )
    with pytest.raises(VagrantError, match="no machine 's09'"):
        machine(tmp_path, "lab", "s09")


def test_without_a_lab_the_operator_hears_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(VagrantError, match="make up"):
        machine(tmp_path, "lab", "s01")
