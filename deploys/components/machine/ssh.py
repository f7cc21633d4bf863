"""The node's SSH server: keys alone let in, by algorithms that are up to date."""

from __future__ import annotations

from typing import Any

from pyinfra.api.command import FunctionCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys import layout
from deploys.hosts.node import Node
from deploys.hosts.ssh_server import CONFIG, DROP_INS, SshServer, SshServerState
from deploys.operations.files import File
from deploys.operations.guarded import guarded
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from portside.operator import known_hosts
from portside.operator import ssh as operators_ssh
from portside.operator.keystore import Keystore
from portside.operator.known_hosts import HostKey

# The first file that says something counts (sshd_config(5)): before 50-cloud-init.conf, by which
# hosters let passwords in, and after what an operator numbers lower on purpose.
DROP_IN = f"{DROP_INS}/40-portside.conf"

_PASSWORDS = ("PasswordAuthentication", "KbdInteractiveAuthentication", "PermitRootLogin")

_OF_METHODS = {
    "keyboard-interactive": "KbdInteractiveAuthentication",
    "password": "PasswordAuthentication",
}

_APPLY = """\
sshd -t
# One that is started per connection reads its settings then.
if systemctl is-active --quiet ssh.service; then systemctl reload ssh.service; fi"""


REMOVAL = Removal(files=(DROP_IN,), machine=True, then=_APPLY)
"""The drop-in: what the operator's own files say counts again."""


@deploy("SSH server")
def ssh_server(node: Node) -> None:
    """A drop-in of our own; the operator's settings stay, and those that contradict are named."""
    found = host.get_fact(SshServer)
    if found is None:
        host.log("there is no OpenSSH server: how one logs in here is left alone")
        return
    if node.cluster.connect == "ssh":
        keys = [HostKey(kind, blob) for kind, blob in found.host_keys]
        host_keys_gathered(name="The server's host keys", node=node, keys=keys)
    off = node.cluster.hardening == "off"
    if off and not any(each.file == DROP_IN for each in found.settings):
        return
    text = "" if off else _drop_in(node, found)
    guarded(
        name="SSH server, proven by a new login",
        subject="ssh",
        # By itself it is checked for what this server understands.
        files=[] if off else [File(DROP_IN, text, mode=0o600, check="sshd -t -f {}")],
        absent=[DROP_IN] if off else [],
        apply=_APPLY,
        undo=_APPLY,
    )
    for line in contradictions(found, text):
        host.log_styled(line, fg="yellow")


@operation()
def host_keys_gathered(node: Node, keys: list[HostKey]) -> Any:
    """All of the server's public host keys in the operator's keystore, over a proven connection.

    So the one that is known may be of a kind that the server shows no more.

    + node: whose
    + keys: what it has
    """
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    to = operators_ssh.access(node.cluster, node.node_id, layout.PROJECT_ROOT)
    new = [key for key in keys if not known_hosts.keeps(keystore, to.known_as, key)]
    if new:
        pairs = [(node.node_id, to.known_as, key) for key in new]
        yield FunctionCommand(known_hosts.pin, (keystore, pairs), {})


def contradictions(found: SshServerState, text: str) -> list[str]:
    """A line for each setting that somebody else's file says first, so that ours doesn't count."""
    if text and not found.includes_drop_ins:
        return [
            f"{CONFIG} doesn't read {DROP_INS}: what is in {DROP_IN} doesn't count. Put the line "
            f"`Include {DROP_INS}/*.conf` at its top"
        ]
    lines = []
    for keyword, value in _wanted(text):
        said = found.before(keyword, DROP_IN)
        if said is not None and said.value.lower() != value.lower():
            lines.append(
                f"{said.file} says `{keyword} {said.value}` before {DROP_IN} says "
                f"`{keyword} {value}`, and the first one counts: remove it there"
            )
    return lines


def _drop_in(node: Node, found: SshServerState) -> str:
    """Its text; without what would weaken the node's own settings or lock this login out."""
    left_out = set()
    by_password = _login_method() in ("password", "keyboard-interactive")
    if by_password:
        left_out |= set(_PASSWORDS)
        host.log_styled(
            "this login came by a password: passwords stay allowed. Put your public key into "
            "~/.ssh/authorized_keys here, set `ssh: {key: ...}` and run this again",
            fg="yellow",
        )
    for method, keyword in _OF_METHODS.items():
        # Of somebody who has to have a key as well: the second factor isn't ours to take away.
        if method in found.methods and keyword not in left_out:
            left_out.add(keyword)
            host.log(
                f"AuthenticationMethods asks for {method} here: `{keyword} no` is left out, and "
                "what your own files say of it counts"
            )
    root = found.first("PermitRootLogin", besides=DROP_IN)
    if root is not None and root.value.lower() in ("no", "forced-commands-only"):
        left_out.add("PermitRootLogin")
    return render(
        "base/sshd.conf.j2",
        known=found.known,
        modern_host_keys=any(kind in ("ssh-ed25519", "ssh-rsa") for kind, _ in found.host_keys),
        strict=node.cluster.hardening == "strict",
        left_out=left_out,
    )


def _login_method() -> str | None:
    """How this run's own connection was let in, in SSH's words (RFC 4252): publickey, password."""
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client is not None else None
    handler = getattr(transport, "auth_handler", None)
    return getattr(handler, "auth_method", None)


def _wanted(text: str) -> list[tuple[str, str]]:
    rows = [line.split(maxsplit=1) for line in text.splitlines() if not line.startswith("#")]
    return [(row[0], row[1]) for row in rows if len(row) == 2]
