"""How a node is reached: the cluster file first, then what OpenSSH is configured for."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from portside.cluster.file import Cluster, parse
from portside.operator.keystore import Keystore
from portside.operator.ssh import Access, SshError, access, command, paramiko_config
from portside.operator.vagrant import VagrantError

NODES = """
name: a
domain: a.b
nodes:
  c01: {}
  s01: {address: 192.0.2.7}
  s02: {address: 'elsewhere', ssh: {user: own, port: 2022, jump: none, key: /keys/own}}
  s03: {address: '2001:db8::3'}
"""

CONFIG = """
Host *.a.b
  User ann
  Port 2200
  IdentityFile {key}
  IdentityFile {key}_%h_%r
Host elsewhere
  HostName %h.example.net
  User ann
  ProxyJump bob@gate:22,second
Host 192.0.2.7
  ProxyCommand nc -X 5 %h %p %%
  IdentityAgent {agent}
Host 2001:db8::3
  ProxyJump bob@[2001:db8::1]:2222,second
  IdentityAgent none
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The operator's own configuration of OpenSSH."""
    key, agent = tmp_path / "key", tmp_path / "agent"
    key.touch()
    key.with_name("key_c01.a.b_ann").touch()
    path = tmp_path / "config"
    path.write_text(CONFIG.format(key=key, agent=agent))
    return path


def _cluster(config: Path | str, ssh: str = "") -> Cluster:
    return parse(f"{NODES}ssh: {{config: {config}{ssh}}}")


def test_root_and_port_22_are_for_who_says_nothing(tmp_path: Path) -> None:
    found = access(_cluster("/dev/null"), "c01", tmp_path)
    assert (found.address, found.port, found.user, found.key) == ("c01.a.b", 22, "root", None)
    assert (found.proxy, found.agent, found.forgetful) == (None, None, False)


def test_what_openssh_is_configured_for_holds(tmp_path: Path, config: Path) -> None:
    found = access(_cluster(config), "c01", tmp_path)
    assert (found.user, found.port) == ("ann", 2200)
    assert found.identities == (tmp_path / "key", tmp_path / "key_c01.a.b_ann")
    proxied = access(_cluster(config), "s01", tmp_path)
    assert proxied.proxy == "nc -X 5 192.0.2.7 22 %"
    assert proxied.agent == str(tmp_path / "agent")
    alone = access(_cluster(config), "s03", tmp_path)
    assert alone.agent == ""
    assert "  IdentityAgent none" in paramiko_config({"s03": alone}).splitlines()


def test_the_cluster_file_is_above_it_and_a_node_above_the_cluster(
    tmp_path: Path, config: Path
) -> None:
    cluster = _cluster(config, ", user: all, port: 2, key: ~/all, jump: gate")
    everyone = access(cluster, "c01", tmp_path)
    assert (everyone.user, everyone.port) == ("all", 2)
    assert everyone.key == Path("~/all").expanduser()
    assert everyone.proxy is not None
    one = access(cluster, "s02", tmp_path)
    assert (one.user, one.port, one.key, one.proxy) == ("own", 2022, Path("/keys/own"), None)
    assert one.address == "elsewhere.example.net"


def test_a_jump_is_made_by_openssh_itself(tmp_path: Path, config: Path) -> None:
    way = access(_cluster(config), "s03", tmp_path).proxy
    assert way is not None
    assert shlex.split(way) == [
        *("ssh", "-F", str(config), "-J", "bob@[2001:db8::1]:2222"),
        *("-W", "[2001:db8::3]:22", "--", "ssh://second"),
    ]


@pytest.mark.parametrize("broken", ["nowhere", "Nonsense yes\n"])
def test_a_configuration_that_cant_be_read_is_one_line(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "broken"
    if broken != "nowhere":
        path.write_text(broken)
    with pytest.raises(SshError, match=r"there is no file|[Bb]ad configuration option"):
        access(_cluster(path), "c01", tmp_path)


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        ("C01.a.b", 22, "c01.a.b"),
        ("c01.a.b", 2222, "[c01.a.b]:2222"),
        ("2001:db8::1", 22, "2001:db8::1"),
        ("2001:db8::1", 2222, "[2001:db8::1]:2222"),
    ],
)
def test_known_hosts_names_a_port_that_isnt_sshs_own(address: str, port: int, name: str) -> None:
    assert Access(address, port, "root", None).known_as == name


def test_root_runs_it_as_it_is(tmp_path: Path) -> None:
    keystore = Keystore(tmp_path, "a")
    line = command(access(_cluster("/dev/null"), "c01", tmp_path), ["echo", "a b; c"], keystore)
    assert line[0] == "ssh"
    assert line[-3:] == ("--", "c01.a.b", "echo 'a b; c'")


def test_another_user_takes_sudo_and_only_pinned_keys_count(tmp_path: Path) -> None:
    cluster = _cluster("/dev/null", ", user: deploy, port: 2222, key: /keys/one")
    line = command(access(cluster, "s01", tmp_path), ["id"], Keystore(tmp_path / "k k", "a"))
    assert line[-2:] == ("192.0.2.7", "sudo id")
    assert line[3:9] == ("-p", "2222", "-l", "deploy", "-i", "/keys/one")
    assert f'UserKnownHostsFile="{tmp_path}/k k/known_hosts"' in line
    assert "HostKeyAlias=[192.0.2.7]:2222" in line
    assert "StrictHostKeyChecking=yes" in line


def test_a_lab_machine_is_reached_as_vagrant_says(tmp_path: Path) -> None:
    cluster = parse(f"{NODES}connect: vagrant")
    with pytest.raises(VagrantError, match="make up"):
        access(cluster, "c01", tmp_path)
    (tmp_path / ".vagrant").mkdir()
    (tmp_path / ".vagrant" / "ssh-config").write_text(
        "Host c01\n  HostName 192.0.2.1\n  User vagrant\n  Port 2200\n  IdentityFile /keys/lab\n"
    )
    found = access(cluster, "c01", tmp_path)
    assert found.forgetful
    line = command(found, ["id"], Keystore(tmp_path, "a"))
    assert line[1:7] == ("-p", "2200", "-l", "vagrant", "-i", "/keys/lab")
    assert "StrictHostKeyChecking=no" in line
    assert line[-2:] == ("192.0.2.1", "sudo id")


def test_another_labs_machines_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    cluster = parse(f"{NODES}connect: vagrant")
    (tmp_path / ".vagrant").mkdir()
    for name, address in (("ssh-config", "192.0.2.1"), (f"{cluster.name}.ssh-config", "192.0.2.2")):
        (tmp_path / ".vagrant" / name).write_text(
            f"Host c01\n  HostName {address}\n  User vagrant\n  IdentityFile /keys/lab\n"
        )
    assert access(cluster, "c01", tmp_path).address == "192.0.2.2"


def test_paramiko_gets_it_all_under_the_nodes_id(tmp_path: Path, config: Path) -> None:
    cluster = _cluster(config)
    text = paramiko_config({"s01": access(cluster, "s01", tmp_path)})
    assert text.splitlines()[:4] == [
        "Host s01",
        "  HostName 192.0.2.7",
        "  Port 22",
        "  User root",
    ]
    assert f"  IdentityAgent {tmp_path}/agent" in text.splitlines()
