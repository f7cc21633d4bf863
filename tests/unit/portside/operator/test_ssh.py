"""The command line that runs something on a node as root."""

from __future__ import annotations

from pathlib import Path

import pytest

from portside.cluster.file import parse
from portside.operator.ssh import Access, access, command
from portside.operator.vagrant import VagrantError

NODES = "name: a\ndomain: a.b\nnodes: {c01: {}, s01: {address: 192.0.2.7}}\n"


def test_root_runs_it_as_it_is(tmp_path: Path) -> None:
    line = command(parse(NODES), "c01", ["echo", "a b; c"], tmp_path)
    assert line == ("ssh", "-p", "22", "--", "root@c01.a.b", "echo 'a b; c'")


def test_another_user_takes_sudo_and_the_clusters_own_settings(tmp_path: Path) -> None:
    cluster = parse(NODES + "ssh: {user: deploy, port: 2222, key: /keys/one}")
    line = command(cluster, "s01", ["id"], tmp_path)
    assert line == ("ssh", "-p", "2222", "-i", "/keys/one", "--", "deploy@192.0.2.7", "sudo id")


def test_a_lab_machine_is_reached_as_vagrant_says(tmp_path: Path) -> None:
    cluster = parse(NODES + "connect: vagrant")
    with pytest.raises(VagrantError, match="make up"):
        command(cluster, "c01", ["id"], tmp_path)
    (tmp_path / ".vagrant").mkdir()
    (tmp_path / ".vagrant" / "ssh-config").write_text(
        "Host c01\n  HostName 192.0.2.1\n  User vagrant\n  Port 2200\n  IdentityFile /keys/lab\n"
    )
    line = command(cluster, "c01", ["id"], tmp_path)
    assert line[:5] == ("ssh", "-p", "2200", "-i", "/keys/lab")
    assert "StrictHostKeyChecking=no" in line
    assert line[-2:] == ("vagrant@192.0.2.1", "sudo id")


def test_another_labs_machines_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    cluster = parse(NODES + "connect: vagrant")
    (tmp_path / ".vagrant").mkdir()
    for name, address in (("ssh-config", "192.0.2.1"), (f"{cluster.name}.ssh-config", "192.0.2.2")):
        (tmp_path / ".vagrant" / name).write_text(
            f"Host c01\n  HostName {address}\n  User vagrant\n  IdentityFile /keys/lab\n"
        )
    assert access(cluster, "c01", tmp_path).address == "192.0.2.2"


def test_who_connects_by_itself_hears_the_same(tmp_path: Path) -> None:
    cluster = parse(NODES + "ssh: {user: deploy, port: 2222, key: ~/one}")
    reached = access(cluster, "c01", tmp_path)
    assert reached == Access("c01.a.b", 2222, "deploy", Path("~/one").expanduser())
    assert not reached.forgetful
