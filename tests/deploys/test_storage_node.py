"""The whole deploy of a storage node, run by pyinfra against a host that isn't there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys.operations import releases
from deploys.wheelhouse import Product, Release
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE
from tests.support.deploys.fake_host import position as _position

pytestmark = pytest.mark.usefixtures("release")


def deploy(responses: dict[str, Any], node_id: str = "s01", group: str = "storage") -> list[str]:
    return fake_host.deploy("storage_node.py", responses, node_id, [group])


@pytest.mark.usefixtures("secrets")
def test_a_bare_node_is_provisioned_in_order() -> None:
    commands = deploy(PRISTINE)
    order = [
        _position(commands, "apt-get install", "nginx", "nftables", "python3-venv"),
        _position(commands, "systemd-sysusers"),
        _position(commands, "nft -c -f"),
        _position(commands, "systemctl reload-or-restart portside-firewall"),
        _position(commands, "mkdir -p", "/srv/portside/uploads"),
        _position(commands, "/srv/portside/.portside-root", "mv -fT"),
        _position(commands, "mv -fT", "/etc/portside/ca.crt"),
        _position(commands, "./make-venv"),
        _position(commands, "portside-agent check"),
        _position(commands, "mv -fT", "/etc/portside/agent.toml"),
        _position(commands, "systemctl restart portside-agent.service"),
        _position(commands, "nginx -t -q -c"),
        _position(commands, "mv -fT", "/etc/nginx/nginx.conf"),
        _position(commands, "systemctl reload nginx.service"),
    ]
    assert order == sorted(order)


@pytest.mark.usefixtures("secrets")
def test_a_node_gets_the_one_release_that_was_built_for_its_machine(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def build(project_root: Path, product: Product, architecture: str) -> Release:
        asked.append(architecture)
        return release

    monkeypatch.setattr(releases, "build", build)
    machine = [
        each.replace("architecture=x86_64", "architecture=aarch64") for each in PRISTINE["MemTotal"]
    ]
    deploy({**PRISTINE, "MemTotal": machine})
    assert asked == ["aarch64"]


@pytest.mark.usefixtures("secrets")
def test_a_new_node_that_does_not_do_its_work_fails_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = 'proof: ["upload", "403 token-refused: who are you", "token-refused"]'
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        deploy({**PRISTINE, "python3 -I -": [said]})
    assert "the new node doesn't do its work: upload: 403 token-refused" in caplog.text


def test_no_secret_is_in_any_command(secrets: Path) -> None:
    commands = "\n".join(deploy(PRISTINE))
    key = (secrets / "tls" / "s01.key").read_text()
    for line in key.splitlines():
        assert line not in commands


_COLD = "cold: {bucket: files}\n"


def test_the_cold_tiers_key_is_the_workers_alone(secrets: Path, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER + _COLD)
    with pytest.raises(PyinfraError, match=r"cold\.credentials can't be read"):
        deploy(PRISTINE)
    key = secrets / "cold.credentials"
    key.write_text("[default]\naws_access_key_id = AK\naws_secret_access_key = hidden-word\n")
    key.chmod(0o644)
    with pytest.raises(PyinfraError, match="chmod 600"):
        deploy(PRISTINE)
    key.chmod(0o600)
    commands = deploy(PRISTINE)
    placed = _position(commands, "mv -fT", "/etc/portside/cold.credentials")
    assert placed < _position(commands, "portside-agent check")
    written = commands[_position(commands, "cat > ", "cold.credentials")]
    assert "chown portside:portside" in written
    assert "chmod 0600" in written
    assert "hidden-word" not in "\n".join(commands)


@pytest.mark.usefixtures("secrets")
def test_the_private_upload_folder_comes_before_any_upload() -> None:
    commands = deploy(PRISTINE)
    folder = _position(commands, "install -d -o root -g root -m 00700", "/uploads")
    assert folder < _position(commands, "cat > ")


@pytest.mark.usefixtures("secrets")
def test_other_nodes_are_not_touched() -> None:
    assert deploy(PRISTINE, node_id="c01", group="control") == []


@pytest.mark.usefixtures("secrets")
def test_a_machine_that_is_too_small_is_refused_before_any_change() -> None:
    small = {**PRISTINE, "MemTotal": ["memory_kib=131072", *PRISTINE["MemTotal"][1:]]}
    with pytest.raises(PyinfraError, match=r"s01: 128\.0 MiB of RAM is too little"):
        deploy(small)


@pytest.mark.usefixtures("secrets")
def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER.replace("s01: {}", "s01: {device: /dev/vdz}"))
    lines = [line for line in PRISTINE["MemTotal"] if "disk" not in line]
    without = {**PRISTINE, "MemTotal": [*lines, "disk="]}
    with pytest.raises(PyinfraError, match=r"nodes\.s01\.device: /dev/vdz is no block device"):
        deploy(without)


def test_without_keys_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(path))
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "none"))
    with pytest.raises(PyinfraError, match="portside keys init"):
        deploy(PRISTINE)
