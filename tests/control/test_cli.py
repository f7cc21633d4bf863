"""`portside` from login to deletion, against a control plane and two nodes as they really are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.client.command import Run
from tests.support.control.small_cluster import SmallCluster, StorageProcesses, contents_of

MIB = 1024 * 1024
AS_MACOS = "Gro\u0308\u00dfe (1).bin"
"""o and a mark of its own."""


@pytest.fixture
def logged_in(cluster: SmallCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logged in, in a folder of its own, once every node takes uploads."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in ("PORTSIDE_URL", "PORTSIDE_API_KEY", "PORTSIDE_CA", "PORTSIDE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    key = cluster.control.run("app", "create", "people").stdout
    login = Run("login", cluster.url, "--ca", str(cluster.ca), stdin=key)
    assert login.code == 0, login.err
    cluster.wait_for(everyone_is_healthy)


def everyone_is_healthy() -> bool:
    nodes = json.loads(Run("nodes", "--json").out)["nodes"]
    return [node["healthy"] for node in nodes] == [True, True]


def listed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Run("ls", "--json").out.splitlines()]


def holders(cluster: SmallCluster, content: bytes) -> list[StorageProcesses]:
    """The nodes with a file of this very content."""
    return [node for node in cluster.nodes.values() if content in contents_of(node)]


@pytest.mark.usefixtures("logged_in")
def test_what_is_put_is_safe_and_is_found_fetched_and_removed_though_a_node_is_gone(
    cluster: SmallCluster, tmp_path: Path
) -> None:
    first, second = cluster.nodes.values()
    contents = {name: name.encode() * (3 * MIB) for name in ("private", "public_")}
    stored = {}
    for namespace, content in contents.items():
        (tmp_path / "x.bin").write_bytes(content)
        put = Run("put", "--wait", "--timeout", "60s", "--json", "--namespace", namespace, "x.bin")
        assert put.code == 0, put.err + cluster.logs()
        stored[namespace] = json.loads(put.out)
        assert stored[namespace]["state"] == "safe"
        assert holders(cluster, content) == [first, second]
    assert [file["file_id"] for file in listed()] == [
        stored[namespace]["file_id"] for namespace in ("public_", "private")
    ]

    # The control plane names it first for downloads, and doesn't know yet.
    first.cut_off()
    for namespace, content in contents.items():
        fetched = tmp_path / namespace
        get = Run("get", stored[namespace]["file_id"], "-o", str(fetched))
        assert get.code == 0, get.err
        assert fetched.read_bytes() == content
    (tmp_path / AS_MACOS).write_bytes(b"y" * 1000)
    put = Run("put", "--json", AS_MACOS)
    assert put.code == 0, put.err
    told = json.loads(put.out)
    assert told["node_id"] == second.node_id
    # One name and one URL, by the node that has it and by the control plane.
    found = listed()[0]
    assert (told["name"], told["url"]) == (found["name"], found["url"])
    assert found["name"] == "Gr\u00f6\u00dfe_1_.bin"
    pools = json.loads(Run("pools", "--json").out)["pools"]
    assert [pool["node_id"] for pool in pools] == [first.node_id, second.node_id]

    remove = Run("rm", "--yes", *(file["file_id"] for file in listed()))
    assert remove.code == 0, remove.err
    assert listed() == []
    assert Run("get", stored["private"]["file_id"], "-o", "again.bin").code == 4
    everything = set(contents.values())
    cluster.wait_for(
        lambda: not any(everything & set(contents_of(node)) for node in (first, second))
    )
