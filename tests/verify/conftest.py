"""A deployed cluster as it is: `fab verify` says which, and which of its nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from operate.look import Look, look_at
from operate.seeing.verifying import NODES_VARIABLE
from operate.site import Site

SITE = Site.at(Path(__file__).parents[2])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of a node, for each node that is meant and has the role."""
    named = os.environ.get(NODES_VARIABLE, "")
    node_ids = SITE.named(named.split(",") if named else [])
    for fixture, role in (("storage_node", "storage"), ("node_id", None)):
        if fixture in metafunc.fixturenames:
            meant = [each for each in node_ids if role in (None, *SITE.cluster.roles_of(each))]
            metafunc.parametrize(fixture, meant, scope="session")


@pytest.fixture(scope="session")
def site() -> Site:
    return SITE


@pytest.fixture(scope="session")
def looks(site: Site) -> Mapping[str, Look]:
    """How each node is, as it says itself."""
    seen = look_at(site, tuple(site.cluster.nodes))
    return {node_id: each.look for node_id, each in seen.items() if each.look is not None}
