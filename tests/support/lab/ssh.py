"""The lab's machines over SSH, as root: one connection for each, for hundreds of commands."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import testinfra
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.operator import vagrant

# A machine whose power was cut says nothing: its connection is given up before it is back.
_GIVES_UP = "-o ServerAliveInterval=3 -o ServerAliveCountMax=3"


@contextmanager
def logged_in(node_ids: Iterable[str]) -> Iterator[Mapping[str, Host]]:
    """Each machine by its id, for as long as the block lasts."""
    config = str(PROJECT_ROOT / vagrant.SSH_CONFIG)
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="lab-", dir="/tmp") as sockets:
        path = f"{sockets}/%n"
        yield {
            node_id: testinfra.get_host(
                f"ssh://{node_id}",
                sudo=True,
                ssh_config=config,
                ssh_extra_args=_GIVES_UP,
                # What testinfra makes of it is a format string once more.
                controlpath=path.replace("%", "%%"),
            )
            for node_id in node_ids
        }
        for socket in Path(sockets).iterdir():
            subprocess.run(
                ["ssh", "-F", config, "-o", f"ControlPath={path}", "-O", "exit", socket.name],
                check=True,
                capture_output=True,
            )
