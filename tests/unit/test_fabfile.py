"""Day-2 tasks that ask the control plane: with which key, and what their user hears."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

import fabfile
from portside.client.control import Control
from portside.cluster.file import Cluster, parse
from portside.commands.storage import nodes
from portside.operator import host_keys, known_hosts
from portside.operator.keystore import Keystore
from portside.operator.ssh import access
from portside.wire.control import DrainProgress, NodeStateRequest, NodeView
from tests.support.client.control_double import API_KEY, ControlDouble, refuse
from tests.support.ssh_server import SshServer, generate, ssh_server

CONTROL_OF = fabfile._control
CLUSTER = "name: test\ndomain: portside.test\nnodes: {s01: {}, c01: {}}\n"
NODE = NodeView(
    node_id="s01",
    state="active",
    healthy=True,
    reasons=("2 files left",),
    public_base_url="https://s01.portside.test",
    upload_api_url="https://s01.portside.test/api/internal/upload",
    region=None,
    weight=1,
    tier="hot",
    heard_at=None,
    down_since=None,
    reserved=0,
    open_sessions=0,
    heartbeat=None,
)


@pytest.fixture
def control() -> Iterator[ControlDouble]:
    double = ControlDouble()
    double.nodes.append(NODE)
    yield double
    double.close()


@pytest.fixture
def keystore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, control: ControlDouble) -> Keystore:
    """That of a cluster whose control plane is the double; new keys made over SSH are API_KEY."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    kept = Keystore.for_cluster(parse(CLUSTER), tmp_path)
    kept.init(parse(CLUSTER))
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(tmp_path / "cluster.yaml"))
    monkeypatch.setattr(fabfile, "_ROOT", tmp_path)

    def ask(cluster: Cluster, keystore: Keystore, key: str) -> Control:
        return Control(control.url, key)

    def make(cluster: Cluster, keystore: Keystore) -> str:
        keystore.keep_operator_key(API_KEY)
        return API_KEY

    monkeypatch.setattr(fabfile, "_control", ask)
    monkeypatch.setattr(fabfile, "_new_key", make)
    return kept


@pytest.mark.parametrize("kept", [None, API_KEY, "revoked-key-0123456789"])
def test_a_node_is_drained_with_a_key_that_counts(
    kept: str | None,
    keystore: Keystore,
    control: ControlDouble,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kept:
        keystore.keep_operator_key(kept)
    fabfile._want("s01", NodeStateRequest(state="draining"))
    assert capsys.readouterr().out == "s01: draining\n  2 files left\n"
    assert keystore.operator_key() == API_KEY


def test_a_drain_says_how_far_it_is_and_is_watched_to_its_end(
    keystore: Keystore,
    control: ControlDouble,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.001)
    going = DrainProgress(
        since=datetime.now(UTC),
        files_left=2,
        bytes_left=0,
        files_gone=0,
        bytes_gone=0,
        copying=0,
        bytes_per_second=None,
        seconds_left=None,
        blocked=("2 files have no node to go to: there is no other node",),
        not_yet=("s01 still has 2 copies",),
        drained=False,
    )
    over = going.model_copy(update={"drained": True, "files_left": 0, "blocked": ()})
    control.nodes[:] = [NODE.model_copy(update={"drain": going})]
    fabfile._want("s01", NodeStateRequest(state="draining"))
    said = capsys.readouterr().out
    assert "2 files (0 B) left" in said
    assert "  blocked: 2 files have no node to go to: there is no other node\n" in said
    control.nodes.append(NODE.model_copy(update={"drain": over}))
    fabfile._want("s01", NodeStateRequest(state="draining"), watch=True)
    assert "drained: may be retired: `fab retire s01`" in capsys.readouterr().out


def test_a_refusal_is_told_in_the_control_planes_words(
    keystore: Keystore, control: ControlDouble
) -> None:
    control.faults.append(refuse(409, "no-room"))
    with pytest.raises(SystemExit) as left:
        fabfile._want("s01", NodeStateRequest(state="draining"))
    assert left.value.code == "so says the double"


def test_without_a_control_plane_there_is_nobody_to_ask(keystore: Keystore) -> None:
    alone = parse("name: test\ndomain: portside.test\nnodes: {s01: {}}\n")
    with pytest.raises(ValueError, match="no control plane"):
        CONTROL_OF(alone, keystore, API_KEY)


def test_nodes_are_reached_as_the_cluster_file_says(tmp_path: Path) -> None:
    cluster = parse(CLUSTER + "ssh: {user: deploy, port: 2222, key: /keys/one, config: /dev/null}")
    reached = access(cluster, "s01", tmp_path)
    to = fabfile._connection(reached, Keystore(tmp_path, "test"))
    assert (to.host, to.user, to.port) == ("s01.portside.test", "deploy", 2222)
    assert to.connect_kwargs["key_filename"] == ["/keys/one"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SshServer]:
    generate(tmp_path / "login")
    with ssh_server(tmp_path, "node", tmp_path / "login") as running:
        yield running


@pytest.mark.parametrize("jumps", [False, True])
def test_a_task_believes_the_pinned_host_key_and_no_other(
    server: SshServer, keystore: Keystore, tmp_path: Path, jumps: bool
) -> None:
    # The server is its own jump host: it lets on to itself.
    at = f"[127.0.0.1]:{server.port}"
    names = f"{at},[localhost]:{server.port}"
    (tmp_path / "known").write_text(f"{names} {server.host_key}\n")
    (tmp_path / "ssh_config").write_text(
        f"UserKnownHostsFile {tmp_path}/known\nIdentityFile {server.key}\n"
    )
    jump = f"{server.user}@localhost:{server.port}" if jumps else "none"
    cluster = parse(
        "name: test\ndomain: portside.test\n"
        f"ssh: {{config: {tmp_path}/ssh_config, key: {server.key}, user: {server.user}, "
        f"port: {server.port}, host_keys: strict, jump: '{jump}'}}\n"
        "nodes: {s01: {address: 127.0.0.1}}\n"
    )
    with fabfile._logged_in(cluster, "s01") as connection:
        assert connection.run("true", hide=True, in_stream=False).ok
    known_hosts.forget(keystore, "s01")
    other = known_hosts.HostKey(*generate(tmp_path / "other").split())
    known_hosts.pin(keystore, [("s01", at, other)])
    with pytest.raises(host_keys.HostKeyError, match="portside keys forget s01"):
        fabfile._logged_in(cluster, "s01")


def test_a_rotation_goes_by_what_nodes_confirm_whatever_becomes_of_the_run(
    keystore: Keystore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The run is of a program that isn't there: no node has anything, and no key signs."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "pyinfra").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin" / "pyinfra").chmod(0o755)
    rotate_keys = cast(Any, fabfile.rotate_keys).body
    signs = keystore.issuer_key().kid
    with pytest.raises(SystemExit, match="c01, s01: not reached"):
        rotate_keys(None, what="issuer")
    assert keystore.issuer_key().kid == signs
    with pytest.raises(SystemExit, match="a rotation isn't done yet"):
        rotate_keys(None, finish=True)
    with pytest.raises(SystemExit, match="--what owner: one of issuer, nodes, operator, all"):
        rotate_keys(None, what="owner")
