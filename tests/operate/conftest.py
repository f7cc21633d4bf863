"""A cluster whose nodes are a real OpenSSH server on the loopback: all of them this computer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operate import control_plane
from operate.site import Site
from portside.client.control import Control
from portside.operator import known_hosts, node_lock
from tests.support import append_only
from tests.support.client.control_double import API_KEY, ControlDouble
from tests.support.loopback import reserved_port
from tests.support.ssh_server import SshServer, generate, ssh_server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    folder = tmp_path_factory.mktemp("ssh")
    generate(folder / "login")
    with ssh_server(folder, "node", folder / "login", "Subsystem sftp internal-sftp") as running:
        yield running


@pytest.fixture
def site(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """s01 and c01 answer; s02 is down: nothing listens at its port."""
    dead = reserved_port()
    (tmp_path / "cluster.yaml").write_text(
        "name: test\ndomain: operate.invalid\n"
        f"ssh: {{key: {server.key}, user: {server.user}, config: /dev/null, host_keys: strict}}\n"
        "nodes:\n"
        f"  s01: {{address: 127.0.0.1, ssh: {{port: {server.port}}}}}\n"
        f"  s02: {{address: 127.0.0.1, ssh: {{port: {dead}}}}}\n"
        # One machine can't be two nodes, by the same name.
        f"  c01: {{address: localhost, ssh: {{port: {server.port}}}}}\n"
    )
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(tmp_path / "cluster.yaml"))
    found = Site.at(tmp_path)
    found.keystore.init(found.cluster)
    key = known_hosts.HostKey(*server.host_key.split())
    known_hosts.pin(
        found.keystore,
        [
            ("s01", f"[127.0.0.1]:{server.port}", key),
            ("s02", f"[127.0.0.1]:{dead}", key),
            ("c01", f"[localhost]:{server.port}", key),
        ],
    )
    return found


@pytest.fixture
def control(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlDouble]:
    """The cluster's control plane; new keys that are made over SSH are API_KEY."""
    double = ControlDouble()

    def ask(_: Site, key: str) -> Control:
        return Control(double.url, key)

    def make(of: Site) -> str:
        of.keystore.keep_operator_key(API_KEY)
        return API_KEY

    monkeypatch.setattr(control_plane, "_control", ask)
    monkeypatch.setattr(control_plane, "new_key", make)
    yield double
    double.close()


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The nodes are this computer: their locks and logs must not be."""
    monkeypatch.setattr(node_lock, "CLOSED", str(tmp_path / "closed.json"))
    monkeypatch.setattr(node_lock, "FOLDER", str(tmp_path))
    monkeypatch.setattr(node_lock, "AUDIT", str(tmp_path / "audit.log"))
    file, audit = str(tmp_path / "lock"), str(tmp_path / "audit.log")
    monkeypatch.setattr(node_lock.script, "__defaults__", (file, audit))
    for each in (node_lock.close, node_lock.reopen, node_lock.done):
        monkeypatch.setattr(each, "__defaults__", (audit,))
    yield
    append_only.let_go(tmp_path)
