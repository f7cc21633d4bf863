"""Day-2 operations over SSH: `fab --list`, `fab status`, `fab -H s01 logs`.

Hosts come from the cluster file, as in pyinfra's inventory. Without `-H` a task runs on every
storage node, one after the other; `-H` takes node ids.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import fabric
from fabric import Connection
from invoke.context import Context

from portside import cluster as cluster_file
from portside import vagrant
from portside.cluster import Cluster, ClusterError
from portside.vagrant import VagrantError

_ROOT = Path(__file__).resolve().parent
_PYTHON = "/opt/portside/current/venv/bin/python"
_SERVICES = "nginx portside-agent portside-agent-worker nftables"

# Through nginx, as a client would ask; the certificate is for the node's name, not for 127.0.0.1.
_READY = """
import ssl, urllib.error, urllib.request
try:
    context = ssl._create_unverified_context()
    answer = urllib.request.urlopen("https://127.0.0.1/health/ready", context=context)
except urllib.error.HTTPError as error:
    answer = error
print(answer.read().decode())
"""

_Task = TypeVar("_Task", bound=Callable[..., None])


def _task(**options: Any) -> Callable[[_Task], _Task]:
    """Fabric's own decorator, with the type it lacks."""
    return fabric.task(**options)  # type: ignore[no-any-return]


@_task()
def status(context: Context) -> None:
    """Release, services, readiness and disk of each node."""
    for node_id, connection, root in _nodes(context):
        print(f"== {node_id}")
        _run(
            connection,
            "echo release $(basename $(readlink /opt/portside/current)); "
            f"for s in {_SERVICES}; do echo $s $(systemctl is-active $s); done; "
            f"{_PYTHON} -I -c {shlex.quote(_READY)}; "
            f"df -h --output=target,size,used,avail,pcent {root} | tail -n 1",
        )


@_task(
    help={
        "lines": "how many lines of each log (default 50)",
        "since": "how far back, in journalctl's words: '1 hour ago'",
    }
)
def logs(context: Context, lines: int = 50, since: str = "") -> None:
    """The latest of the agent's, its worker's and nginx's own log on each node."""
    window = f"--since={shlex.quote(since)}" if since else ""
    for node_id, connection, _ in _nodes(context):
        print(f"== {node_id}")
        _run(
            connection,
            f"journalctl --no-pager --lines={lines} {window} "
            "--unit=portside-agent --unit=portside-agent-worker; "
            f"tail -n {lines} /var/log/nginx/error.log",
        )


@_task()
def reload(context: Context) -> None:
    """Have agent and nginx read their settings again; running uploads go on."""
    for node_id, connection, _ in _nodes(context):
        print(f"== {node_id}")
        _run(connection, "nginx -t -q && systemctl reload nginx portside-agent")


def _nodes(context: Context) -> Iterator[tuple[str, Connection, PurePosixPath]]:
    try:
        cluster = cluster_file.load(cluster_file.find(_ROOT))
        chosen = [context.host] if isinstance(context, Connection) else cluster.with_role("storage")
        unknown = [node_id for node_id in chosen if node_id not in cluster.nodes]
        if unknown:
            sys.exit(f"no node {unknown[0]!r} in the cluster file: {', '.join(cluster.nodes)}")
        for node_id in chosen:
            with _connection(cluster, node_id) as connection:
                yield node_id, connection, cluster.uploads.root
    except (ClusterError, VagrantError) as error:
        sys.exit(str(error))


def _connection(cluster: Cluster, node_id: str) -> Connection:
    if cluster.connect == "vagrant":
        machine = vagrant.machine(_ROOT, node_id)
        return Connection(
            machine.address,
            user=machine.user,
            port=machine.port,
            connect_kwargs={"key_filename": str(machine.key)},
        )
    keys = {} if cluster.ssh.key is None else {"key_filename": str(cluster.ssh.key.expanduser())}
    return Connection(
        cluster.nodes[node_id].address or cluster.host(node_id),
        user=cluster.ssh.user,
        port=cluster.ssh.port,
        connect_kwargs=keys,
    )


def _run(connection: Connection, command: str) -> None:
    """Run as root. A node that fails is reported by its own words, and the others go on."""
    if connection.user == "root":
        connection.run(command, warn=True)
    else:
        connection.sudo(f"sh -c {shlex.quote(command)}", warn=True)
