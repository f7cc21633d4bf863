"""A cluster's nodes as testinfra sees them, whoever's cluster it is."""

from __future__ import annotations

import shlex

import testinfra
from testinfra.host import Host

from operate.site import Site
from portside.operator import ssh


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
