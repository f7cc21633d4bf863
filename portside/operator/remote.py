"""A command on a node over SSH, for commands that are no deploy and no task."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator import host_keys, ssh
from portside.operator.host_keys import HostKeyError
from portside.operator.keystore import Keystore
from portside.operator.ssh import SshError
from portside.operator.vagrant import VagrantError

MISTAKES = (VagrantError, SshError, HostKeyError)
"""A node can't be reached as it should be: the message says so."""

_OF_SSH_ITSELF = 255
"""ssh(1): an error of its own, not of the command."""


def run(
    cluster: Cluster,
    node_id: str,
    words: Sequence[str],
    project_root: Path,
    keystore: Keystore,
    stdin: str | None = None,
) -> int:
    """Run `words` as root on the node; returns the exit code. Streams are this process's own.

    Raises one of MISTAKES.
    """
    to = ssh.access(cluster, node_id, project_root)
    for refusal in host_keys.meet(cluster, {node_id: to}, keystore).values():
        raise HostKeyError(refusal)
    line = ssh.command(to, words, keystore)
    code = subprocess.run(line, input=stdin, text=True, check=False).returncode
    other = host_keys.changed(to, node_id, keystore) if code == _OF_SSH_ITSELF else None
    if other:
        raise HostKeyError(other)
    return code
