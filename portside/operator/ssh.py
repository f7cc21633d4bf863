"""How the operator's machine runs a command on a node: with OpenSSH, as pyinfra and Fabric do it.

Only the arguments are made here; who calls runs them.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator import vagrant


def command(
    cluster: Cluster, node_id: str, words: Sequence[str], project_root: Path
) -> tuple[str, ...]:
    """The arguments that run `words` as root on the node; standard streams are its own.

    Raises VagrantError for a lab that isn't up.
    """
    key: Path | None
    if cluster.connect == "vagrant":
        machine = vagrant.machine(project_root, node_id)
        # A lab machine made anew has a new host key: nothing to remember or to compare.
        options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        user, address, port, key = machine.user, machine.address, machine.port, machine.key
    else:
        options = []
        user, port, given = cluster.ssh.user, cluster.ssh.port, cluster.ssh.key
        address = cluster.nodes[node_id].address or cluster.host(node_id)
        key = given.expanduser() if given else None
    return (
        "ssh",
        *("-p", str(port)),
        *(("-i", str(key)) if key else ()),
        *(word for option in options for word in ("-o", option)),
        # A name that begins with a hyphen is no option.
        *("--", f"{user}@{address}"),
        # The other side's shell reads one line.
        shlex.join(words if user == "root" else ["sudo", *words]),
    )
