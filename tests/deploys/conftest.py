"""What the deploy's tests share: a node of any size, and pyinfra's `host` without a machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.context import ctx_host

from deploys.hosts import facts
from deploys.hosts.node import Node, StorageNode
from deploys.layout import PROJECT_ROOT
from deploys.operations import releases
from deploys.rollout import round_trip
from deploys.wheelhouse import Release
from portside import sizing
from portside.cluster.file import Cluster, load, parse
from portside.operator.keystore import Keystore
from portside.quantities import GIB
from portside.sizing import Machine
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeControl, MakeNode
from tests.support.deploys.this_computer import ThisComputer, own


@pytest.fixture
def cluster() -> Cluster:
    return parse(CLUSTER)


@pytest.fixture
def make_node(cluster: Cluster) -> MakeNode:
    """Storage node s01 with the RAM, and the facts, that a test wants."""

    def make(ram: int = 4 * GIB, cluster: Cluster = cluster, **other: Any) -> StorageNode:
        return StorageNode(*_parts("s01", ram, cluster, other))

    return make


@pytest.fixture
def make_control(cluster: Cluster) -> MakeControl:
    """A node that controls: c01, or one that a test names."""

    def make(cluster: Cluster = cluster, node_id: str = "c01", **other: Any) -> Node:
        kind = StorageNode if "storage" in cluster.roles_of(node_id) else Node
        return kind(*_parts(node_id, 4 * GIB, cluster, other))

    return make


def _parts(node_id: str, ram: int, cluster: Cluster, other: dict[str, Any]) -> Any:
    machine = Machine(ram=ram, cores=2, disk=100 * GIB)
    known: dict[str, Any] = {
        "container": False,
        "ipv6": False,
        "ssh_port": 22,
        "open_files": 524288,
        "settable_sysctls": frozenset(facts.SYSCTLS),
        "congestion_controls": frozenset({"cubic", "bbr"}),
        "device_present": True,
    }
    found = facts.NodeFacts(machine=machine, **{**known, **other})
    return node_id, cluster, found, sizing.size(machine), "root"


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster file and its keys: the folder they are in, with `cluster.yaml` two above it."""
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(path))
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "secrets"))
    found = load(path)
    keystore = Keystore.for_cluster(found, PROJECT_ROOT)
    keystore.init(found)
    return keystore.directory


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """A wheelhouse that needn't be built."""
    made = Release("0123456789abcdef", tmp_path)
    made.archive.touch()
    monkeypatch.setattr(releases, "build", lambda project_root, product, architecture: made)
    return made


@pytest.fixture
def this_computer() -> Iterator[ThisComputer]:
    computer = ThisComputer()
    with ctx_host.use(computer):
        yield computer


@pytest.fixture
def me(tmp_path: Path) -> str:
    return own(tmp_path)


@pytest.fixture(autouse=True)
def nobody_is_in_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that isn't there has no public name: it is proven from itself."""
    monkeypatch.setattr(round_trip, "out_of_reach", lambda host, authority: "there is no such host")


@pytest.fixture(autouse=True)
def no_settings_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PORTSIDE_")]:
        monkeypatch.delenv(variable)
