"""How the operator's machine reaches a node, and how it runs a command there with OpenSSH.

pyinfra's inventory and Fabric's tasks connect by themselves, with what `access` says.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator import vagrant


@dataclass(frozen=True, slots=True)
class Access:
    """Where a node's SSH listens and who logs in there. `key` is a private key's file, if one was
    named.

    With `forgetful`, the node's host key is neither remembered nor compared.
    """

    address: str
    port: int
    user: str
    key: Path | None
    forgetful: bool = False


def access(cluster: Cluster, node_id: str, project_root: Path) -> Access:
    """How to reach a node of the cluster file. Raises VagrantError for a lab that isn't up."""
    if cluster.connect == "vagrant":
        machine = vagrant.machine(project_root, cluster.name, node_id)
        # A lab machine made anew has a new host key: nothing to remember or to compare.
        return Access(machine.address, machine.port, machine.user, machine.key, forgetful=True)
    return Access(
        address=cluster.nodes[node_id].address or cluster.host(node_id),
        port=cluster.ssh.port,
        user=cluster.ssh.user,
        key=cluster.ssh.key.expanduser() if cluster.ssh.key else None,
    )


def command(
    cluster: Cluster, node_id: str, words: Sequence[str], project_root: Path
) -> tuple[str, ...]:
    """The arguments that run `words` as root on the node; standard streams are its own.

    Raises VagrantError for a lab that isn't up.
    """
    to = access(cluster, node_id, project_root)
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    return (
        "ssh",
        *("-p", str(to.port)),
        *(("-i", str(to.key)) if to.key else ()),
        *(word for option in options if to.forgetful for word in ("-o", option)),
        # A name that begins with a hyphen is no option.
        *("--", f"{to.user}@{to.address}"),
        # The other side's shell reads one line.
        shlex.join(words if to.user == "root" else ["sudo", *words]),
    )
