"""Machines as providers hand them out, and their operator's folder. Brought up by `make odd`."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator.keystore import SECRETS_VARIABLE, Keystore
from tests.support.lab.odd import CONTROL, FIRST, NODES, SECOND, Operator, make_odd
from tests.support.lab.requests import Node, talking_to


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """With bare machines, each odd in its own way, and secrets of their own."""
    operator = Operator(tmp_path_factory.mktemp("operator"))
    operator.begin()
    make_odd(CONTROL, "foreign-locale", "own-port")
    make_odd(FIRST, "noexec", "umask-077", "dpkg-was-killed", "apt-is-busy", "own-port")
    make_odd(SECOND, "own-disk", "apache", "own-port")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRETS_VARIABLE, str(operator.folder / "secrets"))
        yield operator


@pytest.fixture(scope="session")
def machines(operator: Operator) -> Mapping[str, Host]:
    """The machines by their ids."""
    return {node_id: operator.logged_in(node_id) for node_id in NODES}


@pytest.fixture(scope="session")
def talk(operator: Operator) -> Mapping[str, Node]:
    """The storage nodes as clients know them."""
    cluster = load(operator.file)
    keystore = Keystore.for_cluster(cluster, PROJECT_ROOT)
    trust = ssl.create_default_context(cafile=operator.authority)
    return {
        node_id: talking_to(cluster, node_id, trust, keystore.issuer_key())
        for node_id in (FIRST, SECOND)
    }
