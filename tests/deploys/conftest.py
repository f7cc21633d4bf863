"""What the deploy's tests share: a node of any size, and pyinfra's `host` without a machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.context import ctx_host

from deploys.components import facts, releases
from deploys.components.node import Node, StorageNode
from deploys.layout import PROJECT_ROOT
from deploys.wheelhouse import Release
from portside import sizing
from portside.cluster.file import Cluster, load, parse
from portside.operator.keystore import Keystore
from portside.quantities import GIB
from portside.sizing import Machine

CLUSTER = """
name: test
domain: portside.test
nodes: {s01: {}, s02: {}, c01: {}}
cors: {origins: ['https://app.portside.test']}
"""


@pytest.fixture
def cluster() -> Cluster:
    return parse(CLUSTER)


MakeNode = Callable[..., StorageNode]
MakeControl = Callable[..., Node]


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
    monkeypatch.setattr(releases, "build", lambda project_root, product: made)
    return made


class ThisComputer:
    """Stands for pyinfra's host: its facts are read here, with a real shell."""

    def get_fact(self, fact: type[Any], **arguments: Any) -> Any:
        output = shell(StringCommand(fact().command(**arguments)))
        lines = output.stdout.splitlines()
        return fact().process(lines) if lines else fact.default()


@pytest.fixture
def this_computer() -> Iterator[ThisComputer]:
    computer = ThisComputer()
    with ctx_host.use(computer):
        yield computer


def shell(command: str | StringCommand) -> subprocess.CompletedProcess[str]:
    """Run a command as pyinfra would: `sh -c`, with what it sends on standard input."""
    if isinstance(command, str):
        command = StringCommand(command)
    return subprocess.run(
        ["sh", "-c", command.get_raw_value()],
        input=str(command.connector_arguments.get("_stdin", "")),
        capture_output=True,
        text=True,
        check=False,
    )


def run_all(commands: Iterable[str | StringCommand]) -> tuple[int, str]:
    """Run an operation's commands up to the first that fails: how many succeeded, what it said."""
    succeeded = 0
    for command in commands:
        done = shell(command)
        if done.returncode != 0:
            return succeeded, done.stderr
        succeeded += 1
    return succeeded, ""


def own(path: Path) -> str:
    """`user:group` of whoever runs the tests: nobody else may be given files without root."""
    return f"{path.owner()}:{path.group()}"


@pytest.fixture
def me(tmp_path: Path) -> str:
    return own(tmp_path)


@pytest.fixture(autouse=True)
def no_settings_of_the_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("PORTSIDE_")]:
        monkeypatch.delenv(variable)
