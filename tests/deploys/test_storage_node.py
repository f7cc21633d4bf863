"""The whole deploy of a storage node, run by pyinfra against a host that isn't there."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state

from deploys.components import agent
from deploys.layout import PROJECT_ROOT
from deploys.release import Release
from portside.cluster import load
from portside.keystore import Keystore
from tests.deploys.conftest import CLUSTER

PRISTINE = {
    "MemTotal": [
        *("memory_kib=4030464", "cores=2", "disk=105226698752", "open_files=524288", "ipv6=yes"),
        *("sysctl=net.ipv4.tcp_rmem", "congestion=bbr", "ssh_port=2222"),
    ],
}
"""What a bare node says; every other fact is empty there."""


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster file and its keys."""
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(path))
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "secrets"))
    found = load(path)
    keystore = Keystore.for_cluster(found, PROJECT_ROOT)
    keystore.init(found)
    return keystore.directory


@pytest.fixture(autouse=True)
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A wheelhouse that needn't be built."""
    made = Release("0123456789abcdef", tmp_path)
    made.archive.touch()
    monkeypatch.setattr(agent, "build", lambda project_root: made)
    return made


@pytest.fixture
def deploy() -> Iterator[Any]:
    """Prepares the deploy on one fake host in `group`, then runs it; returns its commands."""

    def run(responses: dict[str, Any], node_id: str = "s01", group: str = "storage") -> list[str]:
        name = f"@fake/{node_id}"
        data = {
            "node_id": node_id,
            "fake_responses": responses,
            "fake_delay": 0,
            "fake_delay_jitter": 0,
        }
        hosts: Any = ([(name, data)], {})
        inventory = Inventory(hosts, **{group: ([name], {})})  # type: ignore[no-untyped-call]
        state = State(inventory, Config())  # type: ignore[no-untyped-call]
        host = inventory.get_host(name)
        with ctx_state.use(state), ctx_config.use(state.config):
            host.connect()
            state.activate_host(host)
            state.set_stage(StateStage.Prepare)
            with ctx_host.use(host):
                runpy.run_path(str(PROJECT_ROOT / "deploys" / "storage_node.py"))
            assert isinstance(host.connector, FakeConnector)
            host.connector.executed_commands.clear()
            state.set_stage(StateStage.Execute)
            run_ops(state)
        return list(host.connector.executed_commands)

    yield run


def _position(commands: list[str], *parts: str) -> int:
    found = [i for i, command in enumerate(commands) if all(part in command for part in parts)]
    assert found, f"no command with {parts}"
    return found[0]


@pytest.mark.usefixtures("secrets")
def test_a_bare_node_is_provisioned_in_order(deploy: Any) -> None:
    commands = deploy(PRISTINE)
    order = [
        _position(commands, "apt-get install", "nginx", "nftables", "python3-venv"),
        _position(commands, "systemd-sysusers"),
        _position(commands, "nft -c -f"),
        _position(commands, "systemctl reload-or-restart nftables"),
        _position(commands, "install -d", "/srv/portside/uploads"),
        _position(commands, "/srv/portside/.portside-root", "mv -fT"),
        _position(commands, "mv -fT", "/etc/portside/ca.crt"),
        _position(commands, "python3 -m venv"),
        _position(commands, "portside-agent check"),
        _position(commands, "mv -fT", "/etc/portside/agent.toml"),
        _position(commands, "systemctl restart portside-agent.service"),
        _position(commands, "nginx -t -q -c"),
        _position(commands, "mv -fT", "/etc/nginx/nginx.conf"),
        _position(commands, "systemctl reload nginx.service"),
    ]
    assert order == sorted(order)


def test_no_secret_is_in_any_command(deploy: Any, secrets: Path) -> None:
    commands = "\n".join(deploy(PRISTINE))
    key = (secrets / "tls" / "s01.key").read_text()
    for line in key.splitlines():
        assert line not in commands


@pytest.mark.usefixtures("secrets")
def test_the_private_upload_folder_comes_before_any_upload(deploy: Any) -> None:
    commands = deploy(PRISTINE)
    folder = _position(commands, "install -d -o root -g root -m 00700", "/uploads")
    assert folder < _position(commands, "cat > ")


@pytest.mark.usefixtures("secrets")
def test_other_nodes_are_not_touched(deploy: Any) -> None:
    assert deploy(PRISTINE, node_id="c01", group="control") == []


@pytest.mark.usefixtures("secrets")
def test_a_machine_that_is_too_small_is_refused_before_any_change(deploy: Any) -> None:
    small = {"MemTotal": ["memory_kib=131072", *PRISTINE["MemTotal"][1:]]}
    with pytest.raises(PyinfraError, match=r"s01: 128\.0 MiB of RAM is too little"):
        deploy(small)


@pytest.mark.usefixtures("secrets")
def test_a_device_that_is_not_there_is_named(deploy: Any, tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("s01: {}", "s01: {device: /dev/vdz}"))
    without = {
        "MemTotal": [line for line in PRISTINE["MemTotal"] if "disk" not in line] + ["disk="]
    }
    with pytest.raises(PyinfraError, match=r"nodes\.s01\.device: /dev/vdz is no block device"):
        deploy(without)


def test_without_keys_nothing_is_changed(
    deploy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(path))
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "none"))
    with pytest.raises(PyinfraError, match="portside keys init"):
        deploy(PRISTINE)
