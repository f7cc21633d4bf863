"""The lab's spare machine as the only node of a cluster, to break and to change at will."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator.keystore import Keystore
from tests.support.lab.deploy import deploy
from tests.support.lab.requests import talking_to
from tests.support.lab.spare import NODE, Spare, cluster_of_one
from tests.support.lab.ssh import logged_in


@pytest.fixture(scope="session")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spare]:
    """The node as the sources are now, whatever it was before."""
    file = tmp_path_factory.mktemp("spare") / "spare.yaml"
    file.write_text(cluster_of_one())
    cluster = load(file)
    keystore = Keystore.for_cluster(cluster, PROJECT_ROOT)
    keystore.init(cluster)
    # The machine may have been made anew since this cluster was last deployed to it.
    keystore.forget_node_key(NODE)
    run = deploy(file)
    assert run.succeeded, run.output
    trust = ssl.create_default_context(cafile=str(keystore.ca_certificate()))
    with logged_in([NODE]) as hosts:
        yield Spare(hosts[NODE], file, talking_to(cluster, NODE, trust, keystore.issuer_key()))


@pytest.fixture
def changed_cluster(spare: Spare, tmp_path: Path) -> Callable[[str, str], Path]:
    """The spare's cluster file with something replaced."""

    def change(old: str, new: str) -> Path:
        text = spare.file.read_text()
        assert old in text
        path = tmp_path / "spare.yaml"
        path.write_text(text.replace(old, new))
        return path

    return change


@pytest.fixture
def put_back(spare: Spare) -> Iterator[None]:
    """The node as its own cluster file wants it, after a test that had it otherwise."""
    yield
    run = deploy(spare.file)
    assert run.succeeded, run.output
