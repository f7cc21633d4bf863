"""What the unit tests share: a node's double, a cluster file, keys of a test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from portside.client import control as client_control
from portside.cluster.file import Cluster, load
from portside.operator.keystore import Keystore
from tests.support.client.control_double import API_KEY, ControlDouble
from tests.support.client.node_double import NodeDouble

# Examples are timed by the wall clock: on a busy machine a deadline proves nothing, nor does the
# time it takes to make them. They are the same in every run; `PORTSIDE_EXPLORE=1` tries others.
settings.register_profile(
    "unit",
    deadline=None,
    derandomize="PORTSIDE_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("unit")


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where uploads under way are noted: never the home of who runs the tests."""
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a login is kept: never that of who runs the tests."""
    home = tmp_path / "config"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home))
    for variable in ("PORTSIDE_URL", "PORTSIDE_API_KEY", "PORTSIDE_CA"):
        monkeypatch.delenv(variable, raising=False)
    return home


CLUSTER = """
name: test
domain: portside.test
nodes: {s01: {}, s02: {}, c01: {}}
control: {database: 'postgresql://portside:hunter2@db.test/portside?sslpassword=hunter3'}
"""


@pytest.fixture
def node() -> Iterator[NodeDouble]:
    double = NodeDouble()
    yield double
    double.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with a cluster file; it is the current one and has no keys yet."""
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    monkeypatch.chdir(tmp_path)
    for variable in ("PORTSIDE_CLUSTER", "PORTSIDE_SECRETS", "PORTSIDE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.fixture
def cluster(project: Path) -> Cluster:
    return load(project / "cluster.yaml")


@pytest.fixture
def keystore(cluster: Cluster, project: Path) -> Keystore:
    """The project's keystore, its keys made."""
    made = Keystore.for_cluster(cluster, project)
    made.init(cluster)
    return made


@pytest.fixture
def control() -> Iterator[ControlDouble]:
    double = ControlDouble()
    yield double
    double.close()


@pytest.fixture
def logged_in(control: ControlDouble, monkeypatch: pytest.MonkeyPatch) -> ControlDouble:
    """The control plane's double, which every command asks; nobody waits long."""
    monkeypatch.setenv("PORTSIDE_URL", control.url)
    monkeypatch.setenv("PORTSIDE_API_KEY", API_KEY)
    monkeypatch.setattr(client_control, "SHORTEST_PAUSE", 0.001)
    return control
