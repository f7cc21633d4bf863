"""How the operator's machine reaches a node: by the cluster file, then as OpenSSH is configured.

Everything of ours that does SSH asks here: pyinfra's inventory, Fabric's tasks, and the commands
that run something on a node with OpenSSH. OpenSSH itself reads its configuration (`ssh -G`), with
every Include, Match and token that ssh_config(5) knows. Only the host keys in the keystore count:
portside/operator/host_keys.py says how they get there.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from portside.cluster.file import Cluster
from portside.operator import vagrant
from portside.operator.keystore import Keystore

_SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")


class SshError(Exception):
    """OpenSSH isn't there, or can't use its configuration; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where a node's SSH listens, who logs in there, and the way to it.

    `name` is what OpenSSH is asked for and `address` what its configuration makes of that. `key` is
    the private key's file that the cluster file names, `identities` are those of the configuration.
    `proxy` is a command through which the connection goes (ProxyCommand in ssh_config(5)), `agent`
    the socket of another ssh-agent than the usual, empty for none at all. `options` make OpenSSH
    agree with all this.

    With `forgetful`, the node's host key is neither remembered nor compared.
    """

    address: str
    port: int
    user: str
    key: Path | None
    forgetful: bool = False
    name: str = ""
    identities: tuple[Path, ...] = ()
    proxy: str | None = None
    agent: str | None = None
    options: tuple[str, ...] = ()

    @property
    def known_as(self) -> str:
        """The name in a known_hosts file (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""
        address = self.address.lower()
        return address if self.port == 22 else f"[{address}]:{self.port}"


def access(cluster: Cluster, node_id: str, project_root: Path) -> Access:
    """How to reach a node of the cluster file: what it says of the node, then of all, then OpenSSH.

    Where nobody says it, root logs in at port 22. Raises VagrantError for a lab that isn't up, and
    SshError.
    """
    if cluster.connect == "vagrant":
        machine = vagrant.machine(project_root, cluster.name, node_id)
        # A lab machine made anew has a new host key: nothing to remember or to compare.
        return Access(
            machine.address,
            machine.port,
            machine.user,
            machine.key,
            forgetful=True,
            name=machine.address,
            options=(
                *("-p", str(machine.port), "-l", machine.user, "-i", str(machine.key)),
                *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
                *("-o", "LogLevel=ERROR"),
            ),
        )
    node, every = cluster.nodes[node_id], cluster.ssh
    name = node.address or cluster.host(node_id)
    key = node.ssh.key or every.key
    config = every.config.expanduser() if every.config else None
    said = {
        "User": node.ssh.user or every.user,
        "Port": node.ssh.port or every.port,
        "ProxyJump": node.ssh.jump or every.jump,
    }
    overrides = tuple(f"{keyword}={value}" for keyword, value in said.items() if value is not None)
    found = _effective(name, config, overrides)
    user, port = found["user"][0], int(found["port"][0])
    proxy = _proxy(found, name, cluster, config)
    return Access(
        address=found["hostname"][0],
        port=port,
        user=user,
        key=key.expanduser() if key else None,
        name=name,
        identities=tuple(
            path
            for path in (_path(each, found, name) for each in found.get("identityfile", ()))
            if path.is_file()
        ),
        proxy=proxy,
        agent=_agent(found, name),
        options=(
            *(("-F", str(config)) if config else ()),
            # An account of root's, where the configuration says none, is our default alone.
            *("-p", str(port), "-l", user),
            *(("-i", str(key.expanduser())) if key else ()),
            *("-o", f"ProxyCommand={proxy.replace('%', '%%') if proxy else 'none'}"),
        ),
    )


def command(to: Access, words: Sequence[str], keystore: Keystore) -> tuple[str, ...]:
    """The arguments that run `words` as root on the node; standard streams are its own."""
    return (
        "ssh",
        *to.options,
        *(() if to.forgetful else pinned_only(to, keystore)),
        # A name that begins with a hyphen is no option.
        *("--", to.name),
        # The other side's shell reads one line.
        shlex.join(words if to.user == "root" else ["sudo", *words]),
    )


def pinned_only(to: Access, keystore: Keystore) -> tuple[str, ...]:
    """OpenSSH's options that believe the keystore's host keys and no others."""
    options = (
        f'UserKnownHostsFile="{keystore.known_hosts}"',
        "GlobalKnownHostsFile=/dev/null",
        f"HostKeyAlias={to.known_as}",
        "StrictHostKeyChecking=yes",
        # A connection that is there already was made under whatever rules.
        "ControlPath=none",
    )
    return tuple(word for option in options for word in ("-o", option))


def paramiko_config(accesses: Mapping[str, Access]) -> str:
    """An OpenSSH configuration for pyinfra, which can't be told all of it otherwise.

    `Host <node id>` for each node; the way over other hosts is no part of it.
    """
    lines = []
    for node_id, to in accesses.items():
        lines += [f"Host {node_id}", f"  HostName {to.address}", f"  Port {to.port}"]
        lines += [f"  User {to.user}"]
        lines += [f"  IdentityFile {each}" for each in ((to.key,) if to.key else to.identities)]
        lines += [f"  IdentityAgent {to.agent or 'none'}"] if to.agent is not None else []
    return "\n".join(lines) + "\n"


def _effective(
    name: str, config: Path | None, overrides: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """What OpenSSH would do for a host, by keyword in lower case. Raises SshError."""
    own = config or Path("~/.ssh/config").expanduser()
    if config and not config.exists():
        raise SshError(f"ssh.config: there is no file {config}")
    text = own.read_text(encoding="utf-8") if own.exists() else ""
    # As without -F, the system's comes second. The first value counts: our defaults are for where
    # nobody says anything.
    text += "" if config else f"\nHost *\nInclude {_SYSTEM_CONFIG}\n"
    text += "\nHost *\n  User root\n  Port 22\n"
    options = [word for each in overrides for word in ("-o", each)]
    try:
        done = subprocess.run(
            ["ssh", "-T", "-G", "-F", "/dev/stdin", *options, "--", name],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise SshError("there is no `ssh` on this computer: install openssh-client") from None
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise SshError(
            f"OpenSSH can't use its configuration: {said[0].replace('/dev/stdin', str(own))}"
        )
    found: dict[str, tuple[str, ...]] = {}
    for keyword, _, value in (line.partition(" ") for line in done.stdout.splitlines()):
        found[keyword] = (*found.get(keyword, ()), value)
    return found


def _proxy(
    found: dict[str, tuple[str, ...]], name: str, cluster: Cluster, config: Path | None
) -> str | None:
    """The way over other hosts as one command, with OpenSSH's tokens filled in.

    Jumps are OpenSSH's own, so that the hosts on the way are verified as in every `ssh`.
    """
    address, port = (found[keyword][0] for keyword in ("hostname", "port"))
    jump = found.get("proxyjump", ("none",))[0]
    if jump != "none":
        *before, last = jump.split(",")
        return shlex.join(
            [
                "ssh",
                *(("-F", str(config)) if config else ()),
                *(("-J", ",".join(before)) if before else ()),
                *(
                    ("-o", "StrictHostKeyChecking=accept-new")
                    if cluster.ssh.host_keys == "accept-new"
                    else ()
                ),
                *("-W", f"[{address}]:{port}", "--"),
                last if last.startswith("ssh://") else f"ssh://{last}",
            ]
        )
    way = found.get("proxycommand", ("none",))[0]
    if way == "none":
        return None
    return _filled(way, found, name)


def _agent(found: dict[str, tuple[str, ...]], name: str) -> str | None:
    """The socket of the agent that the configuration names, if it isn't the usual one; empty where
    it wants none."""
    named = found.get("identityagent", ("SSH_AUTH_SOCK",))[0]
    if named in ("SSH_AUTH_SOCK", "none"):
        return "" if named == "none" else None
    if named.startswith("$"):
        return os.environ.get(named.strip("${}"), "")
    return str(_path(named, found, name))


def _path(named: str, found: dict[str, tuple[str, ...]], name: str) -> Path:
    return Path(_filled(named, found, name)).expanduser()


def _filled(text: str, found: dict[str, tuple[str, ...]], name: str) -> str:
    """A value of OpenSSH's configuration with the tokens that `ssh -G` leaves as they are.

    ssh_config(5), TOKENS: those that all of ProxyCommand, IdentityFile and IdentityAgent take.
    """
    tokens = {
        "%": "%",
        "h": found["hostname"][0],
        "n": name,
        "p": found["port"][0],
        "r": found["user"][0],
        "d": str(Path.home()),
        "u": getpass.getuser(),
        "i": str(os.getuid()),
        "l": socket.gethostname(),
        "L": socket.gethostname().partition(".")[0],
    }
    return re.sub(r"%(.)", lambda token: tokens.get(token[1], token[0]), text)
