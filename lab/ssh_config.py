"""One file from which every tool learns how to reach a lab's machines: an OpenSSH configuration.

It lies where `vagrant ssh-config > .vagrant/ssh-config` puts it for virtual machines.
"""

from __future__ import annotations

from pathlib import Path

from lab import state
from lab.machines import CLONE, MAIN, Lab, Machine

FOLDER = CLONE / ".vagrant"


def path_of(lab: str) -> Path:
    """The main lab's is what clusters/lab.yaml has people use; others' have the lab's name."""
    return FOLDER / ("ssh-config" if lab == MAIN else f"{lab}.ssh-config")


def write(lab: Lab, addresses: dict[Machine, str]) -> None:
    path = path_of(lab.name)
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(entry(machine, address) for machine, address in addresses.items())
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def entry(machine: Machine, address: str) -> str:
    """A machine by its short name and by its full one."""
    return (
        f"Host {machine.name} {machine.host}\n"
        f"  HostName {address}\n"
        "  User vagrant\n"
        "  Port 22\n"
        # A machine that is made anew has a new host key: nothing to remember or to compare.
        "  UserKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking no\n"
        "  PasswordAuthentication no\n"
        f"  IdentityFile {state.KEY}\n"
        "  IdentitiesOnly yes\n"
        "  LogLevel FATAL\n"
    )


def remove(lab: str) -> None:
    path_of(lab).unlink(missing_ok=True)
    if FOLDER.exists() and not any(FOLDER.iterdir()):
        FOLDER.rmdir()
