"""How to reach a lab's machines: `.vagrant/ssh-config`, an OpenSSH configuration.

Another lab than the main one has a file with the name of its cluster: `.vagrant/odd.ssh-config`.

One file read by pyinfra's inventory, by Fabric and by the tests: asking `vagrant ssh-config` takes
seconds per machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from paramiko import SSHConfig
from paramiko.ssh_exception import ConfigParseError

SSH_CONFIG = Path(".vagrant", "ssh-config")
"""Seen from the project's folder."""


class VagrantError(Exception):
    """The lab's machines can't be found; the message says what to run."""


@dataclass(frozen=True, slots=True)
class VagrantMachine:
    """One machine's SSH access."""

    address: str
    port: int
    user: str
    key: Path


def machine(project_root: Path, cluster: str, node_id: str) -> VagrantMachine:
    """The SSH access of the machine called `node_id`, for the cluster of this name.

    Raises VagrantError when the lab isn't up or has no such machine.
    """
    own = project_root / SSH_CONFIG.with_name(f"{cluster}.{SSH_CONFIG.name}")
    path = own if own.exists() else project_root / SSH_CONFIG
    try:
        config = SSHConfig.from_path(str(path))
    except FileNotFoundError:
        raise VagrantError(f"{path} is missing: bring the lab up with `make up`") from None
    except (OSError, ConfigParseError) as error:
        raise VagrantError(f"{path} can't be read: {error}") from None
    if node_id not in config.get_hostnames():
        raise VagrantError(f"{path} knows no machine {node_id!r}: bring it up with `make up`")
    found = config.lookup(node_id)
    try:
        return VagrantMachine(
            address=found["hostname"],
            port=int(found.get("port", "22")),
            user=found["user"],
            key=Path(found["identityfile"][0]),
        )
    except (KeyError, ValueError) as error:
        raise VagrantError(f"{path}: {node_id}: {error} is missing or unreadable") from None
