"""The firewall: SSH and what the node serves come in, everything else is dropped."""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged

_FILE = "/etc/nftables.conf"
_SERVICE = "nftables.service"


@deploy("Firewall")
def firewall(node: Node) -> None:
    """One nftables table of our own: other tables on the node are left alone."""
    # The port this connection came in by, never another: a node must stay within reach. Behind a
    # forwarded port it is not the one in the cluster file.
    ssh_port = node.facts.ssh_port or node.cluster.ssh.port
    files_in_place(
        name="Firewall rules",
        files=[
            File(
                _FILE,
                render("nftables/nftables.conf.j2", ports=[ssh_port, *node.ports]),
                check="nft -c -f {}",
            )
        ],
    )
    converged(
        name="Firewall is up",
        service="nftables",
        # Starting it reads the rules; a running one reads them again, in one transaction.
        levels=[
            Level(
                (_FILE,),
                f"systemctl enable --quiet {_SERVICE} && systemctl reload-or-restart {_SERVICE}",
            )
        ],
        holds=f"systemctl is-enabled --quiet {_SERVICE} && "
        f"systemctl is-active --quiet {_SERVICE} && nft list table inet portside",
    )
