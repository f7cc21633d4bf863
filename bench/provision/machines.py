"""The bench's own lab: three bare machines, whoever else has a lab on this computer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lab.machines
from lab import containers, state
from lab.machines import CLONE, Lab

FILE = Path(__file__).with_name("machines.json")
CONTROL, FIRST, SECOND = NODES = ("c1", "s1", "s2")
DOMAIN = "provision.test"
SSH_USER = "vagrant"

_COUNTED = "/etc/ssh/sshd_config.d/10-counted.conf"


class LabFailed(Exception):
    """The lab can't be had; the message is its own."""


@contextmanager
def bare() -> Iterator[Lab]:
    """The machines as Debian's installer leaves them, for as long as the block lasts."""
    _lab("down")
    _lab("up")
    try:
        yield lab.machines.load(FILE)
    finally:
        _lab("down")


def addresses(found: Lab) -> dict[str, str]:
    """Where each machine's SSH is, by its name."""
    return {each.name: containers.look(each).address for each in found.machines}


def root_of(found: Lab, name: str) -> Path:
    """A machine's filesystem as this computer sees it."""
    return containers.FOLDER / _container(found, name) / "rootfs"


def run_inside(found: Lab, name: str, command: str) -> str:
    """What a line of shell says as root on a machine; SSH has no part in it."""
    inside = ["lxc-attach", "--clear-env", "-n", _container(found, name), "--", "sh", "-c", command]
    return subprocess.run(inside, check=True, capture_output=True, text=True).stdout


def count_logins(found: Lab) -> None:
    """Have every machine's sshd note down what is started over it."""
    for name in NODES:
        run_inside(
            found, name, f"echo 'LogLevel VERBOSE' > {_COUNTED} && systemctl reload ssh.service"
        )


def sessions(found: Lab, name: str) -> int:
    """Commands and file transfers that the machine's sshd has started so far."""
    # The session's own process says it, which has another name from Debian 13 on.
    say = "journalctl -t sshd -t sshd-session -o cat"
    return int(run_inside(found, name, f"{say} | grep -c '^Starting session: ' || true"))


def write_ssh_config(path: Path, places: dict[str, tuple[str, int]]) -> None:
    """An operator's configuration: each machine's full and short name, where it is reached."""
    path.write_text(
        "".join(
            f"Host {name} {name}.{DOMAIN}\n  HostName {address}\n  Port {port}\n"
            for name, (address, port) in places.items()
        )
        + f"Host *\n  User {SSH_USER}\n  IdentityFile {state.KEY}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {path}.known\n  StrictHostKeyChecking accept-new\n"
        "  LogLevel ERROR\n"
    )


def _container(found: Lab, name: str) -> str:
    return next(each.container for each in found.machines if each.name == name)


def _lab(verb: str) -> None:
    command = [sys.executable, "-m", "lab", "--machines", str(FILE), verb]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabFailed(f"python3 -m lab {verb}: {(done.stdout + done.stderr).strip()}")
