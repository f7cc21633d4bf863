"""The firewall: what is open, what an operator's own rules keep, what older releases left."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from deploys.components.machine import firewall
from deploys.components.machine.firewall import open_ports
from deploys.hosts.ssh_server import SshServer
from deploys.operations.rendering import render
from portside.cluster.file import parse
from portside.cluster.firewall import parse as rule
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeControl, MakeNode
from tests.support.deploys.ssh_server_state import lines
from tests.support.deploys.this_computer import Programs, shell


def test_the_rules_open_these_ports_and_drop_the_rest() -> None:
    rules = render("nftables/firewall.nft.j2", ports=[80, 443, 2222], allowed=[])
    assert "tcp dport { 80, 443, 2222 } accept" in rules
    assert "policy drop;" in rules
    assert rules.count("dport") == 2  # the other is DHCPv6
    assert "flush ruleset" not in rules


def test_what_the_cluster_file_allows_is_open_too() -> None:
    allowed = [rule("51820/udp"), rule("9100/tcp from 192.0.2.0/24"), rule("1-9/tcp from ::1")]
    rules = render("nftables/firewall.nft.j2", ports=[22], allowed=allowed).splitlines()
    assert "        udp dport 51820 accept" in rules
    assert "        ip saddr 192.0.2.0/24 tcp dport 9100 accept" in rules
    assert "        ip6 saddr ::1/128 tcp dport 1-9 accept" in rules


def test_the_control_planes_port_is_open_where_it_is_another(
    make_node: MakeNode, make_control: MakeControl
) -> None:
    both = parse(
        CLUSTER.replace("s01: {}", "s01: {roles: [storage, control]}").replace(", c01: {}", "")
    )
    assert open_ports(make_control(), None) == [22, 80, 443]
    assert open_ports(make_control(both, "s01"), None) == [22, 80, 443, 8443]
    assert open_ports(make_node(), None) == [22, 80, 443]


def test_every_way_in_by_ssh_stays_open(make_node: MakeNode) -> None:
    server = SshServer().process(lines(listens=["0.0.0.0:22", "[::]:2200", "127.0.0.1:2201"]))
    # Behind a forwarded port this connection is the one that counts.
    assert open_ports(make_node(ssh_port=2222), server) == [22, 80, 443, 2200, 2222]
    unknown = make_node(cluster=parse(f"{CLUSTER}ssh: {{port: 2022}}\n"), ssh_port=None)
    assert open_ports(unknown, None) == [80, 443, 2022]


@pytest.mark.usefixtures("secrets", "release")
def test_a_change_is_checked_and_proven_by_a_new_login() -> None:
    commands = fake_host.deploy("storage_node.py", PRISTINE, "s01", ["storage"])
    checked = position(commands, "nft -c -f", ".candidate-firewall.nft")
    applied = position(commands, "reload-or-restart portside-firewall", "--on-active=60")
    kept = position(commands, "guarded/firewall.proven", "firewall.stamp")
    assert checked < applied < kept


@pytest.mark.usefixtures("release")
def test_a_node_may_be_left_to_another_firewall(secrets: Path) -> None:
    (secrets.parent.parent / "cluster.yaml").write_text(f"{CLUSTER}firewall: {{mode: off}}\n")
    commands = fake_host.deploy("storage_node.py", PRISTINE, "s01", ["storage"])
    assert not any("--on-active=60" in command and "nft" in command for command in commands)


def test_debians_own_file_comes_back_where_ours_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "nftables.conf"
    monkeypatch.setattr(firewall, "_DEBIANS", str(file))
    file.write_text("#!/usr/sbin/nft -f\n# Written by Portside: a change\n")
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    (tmp_path / "systemctl").chmod(0o755)
    done = shell(f"PATH={tmp_path}:$PATH; {firewall._debians_own_file()}")
    assert done.returncode == 0, done.stderr
    # The package's own, of Debian 12 as of Debian 13: `dpkg --verify` has nothing to say.
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    assert digest == "4d4241fcd44b9a69b74f69d571f35a20"
    assert file.stat().st_mode & 0o777 == 0o755


def test_rules_of_ours_that_stay_in_debians_file_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firewall, "_DEBIANS", str(tmp_path / "nftables.conf"))
    programs = Programs(tmp_path)
    programs.make("systemctl", "true")
    programs.make("mv", "exit 1")
    # As `converged` runs it: what comes after it is the stamp.
    shell = f"set -e; {firewall._debians_own_file()}\ntouch {tmp_path}/stamp"
    assert programs.run(shell).returncode != 0
    assert not (tmp_path / "stamp").exists()
