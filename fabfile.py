"""Day-2 operations: `fab --list`, `fab status`, `fab -H s01 logs`, `fab drain s01`.

Hosts come from the cluster file, as in pyinfra's inventory. Without `-H` a task over SSH runs on
every node, one after the other; `-H` takes node ids. What is wanted of a node is told to
the control plane's API, with an API key that is made there over SSH when it is first needed.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import fabric
from fabric import Connection
from invoke.context import Context

from portside.client.control import Control
from portside.client.http.errors import ControlError, ControlRefused
from portside.client.login import named_ca
from portside.cluster import file as cluster_file
from portside.cluster.file import CONTROL_PORT_BESIDE_STORAGE, Cluster, ClusterError
from portside.commands.common import printable
from portside.commands.storage.nodes import drain_lines, watch_drain
from portside.operator import host_keys, paramiko_client, remote, rotation, ssh
from portside.operator.authority import authority_of, folders
from portside.operator.keystore import Keystore, KeystoreError
from portside.operator.programs import CONTROL, MARKER, PROGRAMS
from portside.wire.control import NodeStateRequest

_ROOT = Path(__file__).resolve().parent
# Through nginx, as a client would ask; the certificate is for the node's name, not for 127.0.0.1.
_READY = """
import ssl, urllib.error, urllib.request
try:
    context = ssl._create_unverified_context()
    answer = urllib.request.urlopen("https://127.0.0.1:{port}/health/ready", context=context)
except urllib.error.HTTPError as error:
    answer = error
print(answer.read().decode())
"""

# One that renews itself tells what went wrong as well.
_CERTIFICATE = (
    "echo certificate $(portside-certificate status 2>/dev/null || "
    "openssl x509 -noout -enddate -in /etc/portside/tls/node.pem)"
)

_APP = "operator"
"""The name of the API key that these tasks use: `portside app list` shows it."""

_MISTAKES = (ClusterError, *remote.MISTAKES)
"""There is no such cluster, or no lab, or a node can't be reached: the message says so."""

_Task = TypeVar("_Task", bound=Callable[..., None])


def _task(**options: Any) -> Callable[[_Task], _Task]:
    """Fabric's own decorator, with the type it lacks."""
    return fabric.task(**options)  # type: ignore[no-any-return]


@_task()
def status(context: Context) -> None:
    """Release, services, readiness, certificate and disk of each node."""
    for node_id, connection, cluster in _nodes(context):
        print(f"== {node_id}")
        roles = cluster.roles_of(node_id)
        services = [
            "nginx",
            *(["portside-firewall"] if cluster.firewall.mode == "on" else []),
            *(name for role in roles for name in PROGRAMS[role].services),
        ]
        commands = [f"for s in {' '.join(services)}; do echo $s $(systemctl is-active $s); done"]
        for role in roles:
            port = CONTROL_PORT_BESIDE_STORAGE if role == "control" and len(roles) > 1 else 443
            ready = shlex.quote(_READY.format(port=port))
            commands += [
                f"echo {role} release $(basename $(readlink {PROGRAMS[role].current}))",
                f"{PROGRAMS[role].python} -I -c {ready}",
            ]
        commands.append(_CERTIFICATE)
        place = cluster.uploads.root if "storage" in roles else "/"
        if "storage" in roles:
            commands.append(
                f"[ -e {place}/{MARKER} ] || echo the data disk is not mounted on {place}"
            )
        commands.append(f"df -h --output=target,size,used,avail,pcent {place} | tail -n 1")
        _run(connection, "; ".join(commands))


@_task(
    help={
        "lines": "how many lines of each log (default 50)",
        "since": "how far back, in journalctl's words: '1 hour ago'",
    }
)
def logs(context: Context, lines: int = 50, since: str = "") -> None:
    """The latest of each node's own services and of its nginx."""
    window = f"--since={shlex.quote(since)}" if since else ""
    for node_id, connection, cluster in _nodes(context):
        print(f"== {node_id}")
        units = " ".join(f"--unit={name}" for name in _services(cluster, node_id))
        _run(
            connection,
            f"journalctl --no-pager --lines={lines} {window} {units}; "
            f"tail -n {lines} /var/log/nginx/error.log",
        )


@_task()
def reload(context: Context) -> None:
    """Have each node's services and nginx read their settings again; running uploads go on."""
    for node_id, connection, cluster in _nodes(context):
        print(f"== {node_id}")
        services = [PROGRAMS[role].services[0] for role in cluster.roles_of(node_id)]
        _run(connection, f"nginx -t -q && systemctl reload nginx {' '.join(services)}")


@_task(
    help={
        "node": "the node's id, as s01",
        "watch": "say how it goes until nothing is left",
    }
)
def drain(context: Context, node: str, watch: bool = False) -> None:
    """Give a node no new files and copy what it has to others; again: say how far that is."""
    _want(node, NodeStateRequest(state="draining"), watch)


@_task(help={"node": "the node's id, as s01"})
def undrain(context: Context, node: str) -> None:
    """Take a node that is drained, or only read, back into use."""
    _want(node, NodeStateRequest(state="active"))


@_task(help={"node": "the node's id, as s01"})
def retire(context: Context, node: str) -> None:
    """Let a drained node go for good; then its line in the cluster file can go too."""
    _want(node, NodeStateRequest(state="retired"))


@_task(
    help={
        "what": "issuer, nodes, operator, or all",
        "finish": "only let go of private keys that have ended",
    }
)
def rotate_keys(context: Context, what: str = "all", finish: bool = False) -> None:
    """Replace keys while everything goes on; what broke off is finished by the next run."""
    if what not in rotation.KINDS:
        sys.exit(f"--what {what}: one of {', '.join(rotation.KINDS)}")
    try:
        path = cluster_file.find(_ROOT)
        cluster = cluster_file.load(path)
        keystore = Keystore.for_cluster(cluster, _ROOT)
        hands = _Hands(path, cluster, keystore)
        if finish:
            rotation.finish(keystore, print)
            hands.deploy_keys()
        else:
            rotation.rotate(cluster, keystore, cast(rotation.What, what), hands, print)
    except (*_MISTAKES, KeystoreError, rotation.RotationStopped, OSError) as error:
        sys.exit(str(error))


class _Hands:
    """What a rotation needs done on machines."""

    def __init__(self, path: Path, cluster: Cluster, keystore: Keystore) -> None:
        self._path = path
        self._cluster = cluster
        self._keystore = keystore

    def deploy_keys(self) -> Collection[str]:
        """Run deploys/keys.py; the ids of the nodes that have everything then."""
        self._keystore.begin_step()
        pyinfra = Path(sys.executable).with_name("pyinfra")
        named = {cluster_file.CLUSTER_VARIABLE: str(self._path.absolute())}
        # How it ends is no matter: each node that has everything says so in the keystore.
        subprocess.run(
            [pyinfra, "inventory", "deploys/keys.py", "-y"],
            cwd=_ROOT,
            env={**os.environ, **named},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        begun = self._keystore.rotation()
        return () if begun is None else begun.confirmed

    def new_operator_key(self) -> None:
        """Another API key, kept here; the one before counts for ten minutes more."""
        node_id = self._cluster.with_role("control")[0]
        if self._keystore.operator_key() is not None:
            with _logged_in(self._cluster, node_id) as connection:
                made = _as_root(connection, _app("rotate", _APP, "--old-for", "10m"), hide=True)
            if made.ok:
                self._keystore.keep_operator_key(str(made.stdout).split()[-1])
                return
        # There is none yet, or one got lost on its way here and is in the way of another.
        _new_key(self._cluster, self._keystore)


def _want(node_id: str, wish: NodeStateRequest, watch: bool = False) -> None:
    try:
        cluster = cluster_file.load(cluster_file.find(_ROOT))
        keystore = Keystore.for_cluster(cluster, _ROOT)
        key = keystore.operator_key() or _new_key(cluster, keystore)
        try:
            view = _control(cluster, keystore, key).set_state(node_id, wish)
        except ControlRefused as refused:
            if refused.problem.status != 401:
                raise
            # Revoked, or the control plane was made anew.
            key = _new_key(cluster, keystore)
            view = _control(cluster, keystore, key).set_state(node_id, wish)
        print(f"{view.node_id}: {view.state}" + "".join(f"\n  {each}" for each in view.reasons))
        if watch:
            watch_drain(_control(cluster, keystore, key), node_id, _tell)
        elif view.drain is not None:
            for line in drain_lines(node_id, view.drain):
                _tell(line)
    except ControlRefused as refused:
        sys.exit(refused.problem.detail)
    except (*_MISTAKES, KeystoreError, ControlError, OSError, ValueError) as error:
        sys.exit(str(error))


def _tell(line: str) -> None:
    print(f"  {printable(line)}", flush=True)


def _control(cluster: Cluster, keystore: Keystore, key: str) -> Control:
    """The control plane, asked with this key. Raises ValueError where there is none."""
    if cluster.control_url is None:
        raise ValueError(f"cluster {cluster.name!r} has no control plane")
    ca = authority_of(cluster, keystore, *folders(cluster_file.find(_ROOT), _ROOT)) or named_ca()
    return Control(cluster.control_url, key, ca)


def _new_key(cluster: Cluster, keystore: Keystore) -> str:
    """An API key made on the control plane's node, kept for the next time."""
    nodes = cluster.with_role("control")
    if not nodes:
        sys.exit(f"cluster {cluster.name!r} has no node with the role control")
    with _logged_in(cluster, nodes[0]) as connection:
        # One whose key got lost is in the way of the new one.
        _as_root(connection, _app("revoke", _APP), hide=True)
        made = _as_root(connection, _app("create", _APP, "--scope", "admin"), hide=True)
    if not made.ok:
        sys.exit(f"no API key could be made on {nodes[0]}:\n{made.stderr}")
    key = str(made.stdout).split()[-1]
    keystore.keep_operator_key(key)
    return key


def _app(*arguments: str) -> str:
    """The line that runs `portside-control app` on the control plane's node."""
    return shlex.join(CONTROL.as_its_user("app", *arguments))


def _nodes(context: Context) -> Iterator[tuple[str, Connection, Cluster]]:
    try:
        cluster = cluster_file.load(cluster_file.find(_ROOT))
        chosen = [context.host] if isinstance(context, Connection) else list(cluster.nodes)
        unknown = [node_id for node_id in chosen if node_id not in cluster.nodes]
        if unknown:
            sys.exit(f"no node {unknown[0]!r} in the cluster file: {', '.join(cluster.nodes)}")
    except ClusterError as error:
        sys.exit(str(error))
    unreached = False
    for node_id in chosen:
        try:
            connection = _logged_in(cluster, node_id)
        except _MISTAKES as error:
            # The others are asked all the same.
            print(error, file=sys.stderr)
            unreached = True
            continue
        with connection:
            yield node_id, connection, cluster
    if unreached:
        sys.exit(1)


def _services(cluster: Cluster, node_id: str) -> list[str]:
    return [name for role in cluster.roles_of(node_id) for name in PROGRAMS[role].services]


def _connection(to: ssh.Access, keystore: Keystore) -> Connection:
    """A connection that believes the pinned host key alone, and isn't open yet."""
    keys = [to.key] if to.key else list(to.identities)
    connection = Connection(
        to.address,
        user=to.user,
        port=to.port,
        config=fabric.Config(ssh_config=paramiko_client.NO_CONFIG),
        connect_timeout=host_keys.CONNECT_TIMEOUT,
        connect_kwargs={"key_filename": [str(key) for key in keys]} if keys else {},
    )
    paramiko_client.believe_pinned_only(connection.client, to, keystore)
    return connection


def _logged_in(cluster: Cluster, node_id: str) -> Connection:
    """An open connection to a node whose host key is agreed on. Raises one of _MISTAKES."""
    to = ssh.access(cluster, node_id, _ROOT)
    keystore = Keystore.for_cluster(cluster, _ROOT)
    for line in host_keys.meet(cluster, {node_id: to}, keystore).values():
        raise host_keys.HostKeyError(line)
    connection = _connection(to, keystore)
    paramiko_client.log_in(connection.open, connection.connect_kwargs, node_id, to, keystore)
    return connection


def _run(connection: Connection, command: str) -> None:
    """Run as root. A node that fails is reported by its own words, and the others go on."""
    _as_root(connection, command)


def _as_root(connection: Connection, command: str, hide: bool = False) -> Any:
    if connection.user == "root":
        return connection.run(command, warn=True, hide=hide)
    return connection.sudo(f"sh -c {shlex.quote(command)}", warn=True, hide=hide)
