"""A deployed cluster as it is: `fab verify` says which, and which of its nodes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from operate.look import Look, look_at
from operate.site import Site
from operate.verifying import NODES_VARIABLE
from portside.operator import ssh

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


def reached(site: Site, node_id: str) -> Host:
    """The node as root over SSH, its host key as pinned as for every other command."""
    to = ssh.access(site.cluster, node_id, site.root)
    pinned = () if to.forgetful else ssh.pinned_only(to, site.keystore)
    return testinfra.get_host(
        f"ssh://{to.name}",
        sudo=to.user != "root",
        ssh_extra_args=shlex.join((*to.options, *pinned, "-o", "ControlMaster=no")),
        controlpersist=0,
    )
