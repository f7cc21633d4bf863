"""The SSH server's drop-in: what it says, what it leaves alone, and who contradicts it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from pyinfra.context import ctx_host

from deploys.components.machine import ssh
from deploys.components.machine.ssh import DROP_IN, contradictions
from deploys.hosts.ssh_server import SshServer, SshServerState
from portside.cluster.file import parse
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.ssh_server_state import DEBIANS, lines
from tests.support.deploys.this_computer import ThisComputer
from tests.support.ssh_server import SSHD

IN_USE: dict[str, Any] = {**PRISTINE, "command -v sshd": lines()}


def _state(*arguments: Any, **others: Any) -> SshServerState:
    found = SshServer().process(lines(*arguments, **others))
    assert found is not None
    return found


class _Host(ThisComputer):
    """A host whose connection was let in by `method`."""

    def __init__(self, method: str | None = "publickey") -> None:
        self.said: list[str] = []
        self.connector = self
        self.client = self
        self.auth_handler = self
        self.auth_method = method

    def get_transport(self) -> _Host:
        return self

    def log_styled(self, text: str, **_: Any) -> None:
        self.said.append(text)


def _text(node: Any, state: SshServerState, host: _Host | None = None) -> str:
    with ctx_host.use(host or _Host()):
        return ssh._drop_in(node, state)


@pytest.mark.parametrize("hardening", ["standard", "strict"])
def test_this_computers_own_server_takes_what_it_says(
    this_computer: ThisComputer, make_node: MakeNode, tmp_path: Path, hardening: str
) -> None:
    found = this_computer.get_fact(SshServer)
    assert found is not None
    node = make_node(cluster=parse(f"{CLUSTER}hardening: {hardening}\n"))
    path = tmp_path / "drop-in"
    path.write_text(_text(node, found))
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True
    )
    shown = subprocess.check_output([SSHD, "-T", "-f", path, "-h", tmp_path / "k"], text=True)
    for line in (
        "passwordauthentication no",
        "kbdinteractiveauthentication no",
        "permitrootlogin without-password",
    ):
        assert line in shown.splitlines()
    offered = [
        line for line in shown.splitlines() if line.startswith(("kexalgorithms", "ciphers", "macs"))
    ]
    assert len(offered) == 3
    for weak in ("nistp", "sha1", "cbc", "group14", "hmac-sha2-256,", "umac-64"):
        assert not any(weak in line for line in offered)


def test_only_what_the_server_knows_is_asked_of_it(make_node: MakeNode) -> None:
    text = _text(make_node(), _state())
    assert "KexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\n" in text
    assert "Ciphers chacha20-poly1305@openssh.com,aes128-ctr\n" in text
    assert "MACs hmac-sha2-256-etm@openssh.com\n" in text
    assert "HostKeyAlgorithms ssh-ed25519,rsa-sha2-512\n" in text


def test_a_server_with_an_ecdsa_key_alone_keeps_showing_it(make_node: MakeNode) -> None:
    found = _state(host_keys=["ecdsa-sha2-nistp256 AAAA"])
    assert "HostKeyAlgorithms" not in _text(make_node(), found)


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_who_came_by_a_password_keeps_it_and_hears_what_to_do(
    make_node: MakeNode, method: str
) -> None:
    host = _Host(method)
    text = _text(make_node(), _state(), host)
    assert "PasswordAuthentication" not in text
    assert "PermitRootLogin" not in text
    assert "KexAlgorithms" in text
    assert "authorized_keys" in host.said[0]


@pytest.mark.parametrize(
    ("said", "left", "kept"),
    [
        (
            "AuthenticationMethods publickey,keyboard-interactive:pam",
            "KbdInteractiveAuthentication",
            "PasswordAuthentication",
        ),
        (
            "authenticationmethods=publickey,password publickey,hostbased",
            "PasswordAuthentication",
            "KbdInteractiveAuthentication",
        ),
    ],
)
@pytest.mark.parametrize("in_drop_in", [False, True])
def test_who_has_to_show_a_second_factor_still_can(
    make_node: MakeNode, said: str, left: str, kept: str, in_drop_in: bool
) -> None:
    people = ["Match Group people", f"    {said}"]
    main = [*DEBIANS, *(() if in_drop_in else people)]
    found = _state(main, {"90-people.conf": people} if in_drop_in else {})
    host = _Host()
    text = _text(make_node(), found, host)
    assert f"\n{left} " not in text
    assert f"\n{kept} no\n" in text
    (line,) = host.said
    assert f"`{left} no` is left out" in line
    # A comment asks nobody for anything.
    assert f"\n{left} no\n" in _text(make_node(), _state([*DEBIANS, f"# {said}"]))


def test_a_stricter_word_about_root_is_not_weakened(make_node: MakeNode) -> None:
    main = ["Include /etc/ssh/sshd_config.d/*.conf", "PermitRootLogin no"]
    assert "PermitRootLogin" not in _text(make_node(), _state(main))
    main[1] = "PermitRootLogin yes"
    assert "PermitRootLogin prohibit-password" in _text(make_node(), _state(main))


def test_who_says_it_before_is_named(make_node: MakeNode) -> None:
    drop_ins = {
        "10-mine.conf": ["# mine", "passwordauthentication=yes", "Match User x", "MaxAuthTries 1"],
        "50-cloud-init.conf": ["PasswordAuthentication yes"],
    }
    found = _state(drop_ins=drop_ins)
    said = contradictions(found, _text(make_node(), found))
    assert len(said) == 1
    assert said[0].startswith(
        "/etc/ssh/sshd_config.d/10-mine.conf says `PasswordAuthentication yes` before"
    )


def test_what_comes_later_is_no_contradiction(make_node: MakeNode) -> None:
    found = _state(
        ["Include /etc/ssh/sshd_config.d/*.conf", "PasswordAuthentication yes"],
        {"50-cloud-init.conf": ["PasswordAuthentication yes"]},
    )
    assert contradictions(found, _text(make_node(), found)) == []


def test_a_server_that_reads_no_drop_ins_is_named(make_node: MakeNode) -> None:
    found = _state(["PasswordAuthentication yes"])
    said = contradictions(found, _text(make_node(), found))
    assert said == [
        "/etc/ssh/sshd_config doesn't read /etc/ssh/sshd_config.d: what is in "
        f"{DROP_IN} doesn't count. Put the line `Include /etc/ssh/sshd_config.d/*.conf` at its top"
    ]


def test_ports_are_those_that_others_reach() -> None:
    listens = ["0.0.0.0:2222", "[::]:2222", "127.0.0.1:9", "[::1]:8", "192.0.2.1:22", "*:222"]
    assert _state(listens=listens).ports == (22, 222, 2222)


@pytest.mark.usefixtures("secrets", "release")
def test_a_deploy_checks_the_drop_in_before_and_proves_it_after() -> None:
    commands = fake_host.deploy("storage_node.py", IN_USE, "s01", ["storage"])
    checked = position(commands, "sshd -t -f", "candidate-40-portside.conf")
    applied = position(commands, "systemctl reload ssh.service", "--on-active=60")
    kept = position(commands, "guarded/ssh.proven", "ssh.stamp")
    assert checked < applied < kept


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("there", [False, True])
def test_without_hardening_a_drop_in_of_ours_goes(secrets: Path, there: bool) -> None:
    path = secrets.parent.parent / "cluster.yaml"
    path.write_text(f"{CLUSTER}hardening: off\n")
    drop_ins = {"40-portside.conf": ["PasswordAuthentication no"]} if there else {}
    responses = {
        **PRISTINE,
        "command -v sshd": lines(drop_ins=drop_ins),
        f"for p in {DROP_IN}": [f"file 600 root root 0 {DROP_IN}"] if there else [],
    }
    commands = fake_host.deploy("storage_node.py", responses, "s01", ["storage"])
    removed = [c for c in commands if f"rm -f {DROP_IN}\n" in c and "reload ssh.service" in c]
    assert len(removed) == there
