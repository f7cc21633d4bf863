"""Machines as providers hand them out, and their operator's folder. Brought up by `make odd`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from testinfra.host import Host

from tests.support.lab.odd import CONTROL, FIRST, NODES, SECOND, Operator, make_odd


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """With bare machines, each odd in its own way."""
    operator = Operator(tmp_path_factory.mktemp("operator"))
    operator.begin()
    make_odd(CONTROL, "foreign-locale", "own-port")
    make_odd(FIRST, "noexec", "umask-077", "dpkg-was-killed", "apt-is-busy", "own-port")
    make_odd(SECOND, "own-disk", "apache", "own-port")
    return operator


@pytest.fixture(scope="session")
def machines(operator: Operator) -> Mapping[str, Host]:
    """The machines by their ids."""
    return {node_id: operator.logged_in(node_id) for node_id in NODES}
