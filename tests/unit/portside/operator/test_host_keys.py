"""Host keys, kept at first contact: with a real OpenSSH server that shows them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.cluster.file import Cluster, parse
from portside.operator import host_keys, known_hosts, remote
from portside.operator.host_keys import HostKeyError
from portside.operator.keystore import Keystore
from portside.operator.ssh import Access, access
from tests.support.loopback import wait_until
from tests.support.ssh_server import SshServer, generate, ssh_server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ssh")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[SshServer]:
    key = folder / "login"
    generate(key)
    with ssh_server(folder, "node", key) as running:
        yield running


@pytest.fixture
def keystore(tmp_path: Path) -> Keystore:
    return Keystore(tmp_path / "secrets", "test")


@pytest.fixture
def known(tmp_path: Path) -> Path:
    """What the operator's own OpenSSH knows: nothing yet."""
    return tmp_path / "known_hosts"


def _cluster(
    server: SshServer, known: Path, host_keys: str = "ask", more: str = "", jump: str = "none"
) -> Cluster:
    config = known.with_name("config")
    config.write_text(f"UserKnownHostsFile {known}\nIdentityFile {server.key}\n{more}")
    return parse(
        "name: test\ndomain: portside.test\n"
        f"ssh: {{config: {config}, host_keys: {host_keys}, user: {server.user}}}\n"
        f"nodes: {{s01: {{address: 127.0.0.1, ssh: {{port: {server.port}, jump: '{jump}'}}}}}}\n"
    )


def _reached(cluster: Cluster, tmp_path: Path) -> dict[str, Access]:
    return {"s01": access(cluster, "s01", tmp_path)}


def test_the_operator_is_shown_the_fingerprint_and_asked_once(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    cluster = _cluster(server, known)
    asked: list[str] = []

    def agrees(question: str) -> bool:
        asked.append(question)
        return True

    reached = _reached(cluster, tmp_path)
    assert host_keys.meet(cluster, reached, keystore, agrees) == {}
    fingerprint = subprocess.check_output(
        ["ssh-keygen", "-lf", server.key.parent / "node.host.pub"], text=True
    ).split()[1]
    assert f"s01  [127.0.0.1]:{server.port}  ED25519 {fingerprint}" in asked[0]
    line = f"[127.0.0.1]:{server.port} {server.host_key} s01\n"
    assert keystore.known_hosts.read_text() == line
    assert host_keys.meet(cluster, reached, keystore, agrees) == {}
    assert len(asked) == 1
    # Nothing of ours gets into the operator's own file.
    assert not known.exists()


@pytest.mark.parametrize("setting", ["ask", "strict"])
def test_a_key_that_nobody_agreed_to_is_refused_with_a_remedy(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path, setting: str
) -> None:
    cluster = _cluster(server, known, setting)
    refused = host_keys.meet(cluster, _reached(cluster, tmp_path), keystore, lambda _: False)
    assert "nobody knows its SSH host key, ED25519 SHA256:" in refused["s01"]
    assert "host_keys: accept-new" in refused["s01"]
    assert not keystore.known_hosts.exists()


def test_new_keys_are_taken_and_told_where_that_is_wanted(
    server: SshServer,
    keystore: Keystore,
    known: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = _cluster(server, known, "accept-new")
    assert host_keys.meet(cluster, _reached(cluster, tmp_path), keystore) == {}
    assert "ED25519 SHA256:" in capsys.readouterr().err
    assert server.host_key in keystore.known_hosts.read_text()


@pytest.mark.parametrize("hashed", [True, False])
def test_a_key_that_openssh_knows_needs_no_question(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path, hashed: bool
) -> None:
    known.write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
    if hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    cluster = _cluster(server, known, "strict")
    assert host_keys.meet(cluster, _reached(cluster, tmp_path), keystore) == {}
    assert server.host_key in keystore.known_hosts.read_text()


def test_so_does_one_that_it_knows_under_an_alias(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    known.write_text(f"node-one {server.host_key}\n")
    cluster = _cluster(server, known, "strict", "HostKeyAlias node-one\n")
    assert host_keys.meet(cluster, _reached(cluster, tmp_path), keystore) == {}
    assert keystore.known_hosts.read_text().startswith(f"[127.0.0.1]:{server.port} ")


def test_so_does_one_with_a_certificate_of_an_authority_that_it_knows(
    server: SshServer, folder: Path, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    authority = generate(folder / "authority")
    with ssh_server(
        folder, "certified", server.key, f"HostCertificate {folder}/certified.host-cert.pub"
    ) as certified:
        subprocess.run(
            [
                *("ssh-keygen", "-q", "-s", str(folder / "authority"), "-I", "id", "-h"),
                *("-n", "127.0.0.1", str(folder / "certified.host.pub")),
            ],
            check=True,
        )
        known.write_text(f"@cert-authority * {authority}\n")
        cluster = _cluster(certified, known, "strict")
        assert host_keys.meet(cluster, _reached(cluster, tmp_path), keystore) == {}
        assert certified.host_key in keystore.known_hosts.read_text()


def test_a_key_that_contradicts_openssh_is_refused(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    other = generate(tmp_path / "other")
    known.write_text(f"[127.0.0.1]:{server.port} {other}\n")
    cluster = _cluster(server, known, "accept-new")
    refused = host_keys.meet(cluster, _reached(cluster, tmp_path), keystore)
    assert "isn't the one in your known_hosts" in refused["s01"]


def test_who_cant_be_reached_is_told_in_a_line(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    cluster = _cluster(server, known, "ask", "ProxyCommand false\n")
    refused = host_keys.meet(cluster, _reached(cluster, tmp_path), keystore)
    assert refused["s01"].startswith("s01: can't be reached over SSH: ")
    assert "\n" not in refused["s01"]


def test_a_node_is_met_and_run_on_behind_another_host(
    server: SshServer, folder: Path, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    with ssh_server(folder, "gate", server.key, "LogLevel VERBOSE") as gate:
        known.write_text(f"[127.0.0.1]:{gate.port} {gate.host_key}\n")
        jump = f"{gate.user}@127.0.0.1:{gate.port}"
        cluster = _cluster(server, known, "accept-new", jump=jump)
        assert remote.run(cluster, "s01", ["true"], tmp_path, keystore) == 0
        assert server.host_key in keystore.known_hosts.read_text()
        # It lets in first, and writes that down then.
        wait_until(lambda: (folder / "gate.log").read_text().count("Accepted publickey") == 2)


def test_a_node_with_another_key_than_before_is_refused_until_it_is_forgotten(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    cluster = _cluster(server, known, "accept-new")
    other = generate(tmp_path / "other")
    kind, blob = other.split()
    known_hosts.pin(
        keystore, [("s01", f"[127.0.0.1]:{server.port}", known_hosts.HostKey(kind, blob))]
    )
    with pytest.raises(HostKeyError, match="made anew: portside keys forget s01"):
        remote.run(cluster, "s01", ["true"], tmp_path, keystore)
    assert known_hosts.forget(keystore, "s01")
    assert not known_hosts.forget(keystore, "s01")
    assert remote.run(cluster, "s01", ["true"], tmp_path, keystore) == 0


def test_a_node_at_the_address_of_another_is_told_whose_key_is_in_the_way(
    server: SshServer, keystore: Keystore, known: Path, tmp_path: Path
) -> None:
    cluster = _cluster(server, known, "accept-new")
    kind, blob = generate(tmp_path / "other").split()
    known_hosts.pin(
        keystore, [("s09", f"[127.0.0.1]:{server.port}", known_hosts.HostKey(kind, blob))]
    )
    with pytest.raises(HostKeyError, match=r"as that of s09: .* anew: portside keys forget s09"):
        remote.run(cluster, "s01", ["true"], tmp_path, keystore)
    assert known_hosts.forget(keystore, "s09")
    assert remote.run(cluster, "s01", ["true"], tmp_path, keystore) == 0
