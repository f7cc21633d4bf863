"""What pyinfra is told of nodes: how to reach each, and that only its pinned host key counts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portside import durable_file
from portside.cluster.file import Cluster
from portside.operator import host_keys, ssh
from portside.operator.detour import PerConnection
from portside.operator.keystore import Keystore

_REMOVAL = "    ssh-keygen -R "
_ALARM = ("WARNING: REMOTE HOST", "Someone could be", "If this is expected", _REMOVAL)
"""What pyinfra says of another host key: its remedy is for a file that isn't ours."""


class _OneLineForAStranger(logging.Filter):
    """What to do about a host key that has changed, in place of pyinfra's own words."""

    def __init__(self, keystore: Keystore, accesses: Mapping[str, ssh.Access]) -> None:
        super().__init__()
        self._lines = {
            to.known_as: host_keys.stranger(node_id, to.known_as, keystore)
            for node_id, to in accesses.items()
        }

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if not said.startswith(_ALARM):
            return True
        line = self._lines.get(said.removeprefix(_REMOVAL))
        if line is None:
            return False
        record.msg, record.args = line, ()
        return True


def data(cluster: Cluster, project_root: Path, connects: bool) -> dict[str, dict[str, Any]]:
    """pyinfra's host data of each node; with `connects`, host keys are agreed on first.

    A line on stderr for a node that can't be met: pyinfra fails on it, and goes on with the others.
    Raises VagrantError and SshError.
    """
    keystore = Keystore.for_cluster(cluster, project_root)
    accesses = {node_id: ssh.access(cluster, node_id, project_root) for node_id in cluster.nodes}
    config = keystore.directory / "ssh_config"
    if connects and not all(to.forgetful for to in accesses.values()):
        for line in host_keys.meet(cluster, accesses, keystore).values():
            logging.getLogger("pyinfra").error(line)
        with keystore.locked():
            text = ssh.paramiko_config(accesses)
            keystore.known_hosts.touch(0o600)
            if not config.exists() or config.read_text(encoding="utf-8") != text:
                durable_file.replace(config, text.encode(), 0o600)
        logging.getLogger("pyinfra").addFilter(_OneLineForAStranger(keystore, accesses))
    return {node_id: _host(node_id, to, keystore, config) for node_id, to in accesses.items()}


def _host(node_id: str, to: ssh.Access, keystore: Keystore, config: Path) -> dict[str, Any]:
    found: dict[str, Any] = {
        "node_id": node_id,
        "ssh_hostname": to.address,
        "ssh_port": to.port,
        "ssh_user": to.user,
        # Root may have no sudo on a bare Debian; everyone else needs it for everything.
        "_sudo": to.user != "root",
        # Facts are read off programs' words; what a login sets may not even be there.
        "_env": {"LC_ALL": "C.UTF-8"},
    }
    if to.key:
        found["ssh_key"] = str(to.key)
    if to.forgetful:
        return found | {
            "ssh_strict_host_key_checking": "off",
            "ssh_known_hosts_file": "/dev/null",
        }
    return found | {
        # By its id the node is found in our configuration, which has its address.
        "ssh_hostname": node_id,
        "ssh_config_file": str(config),
        "ssh_strict_host_key_checking": "yes",
        "ssh_known_hosts_file": str(keystore.known_hosts),
        **({"ssh_paramiko_connect_kwargs": PerConnection(to.proxy)} if to.proxy else {}),
    }
