"""Talks to Vagrant, and writes the one file from which every tool learns how to reach a node."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from lab import commands
from lab.machines import CLONE, Machine

STATE_FOLDER = CLONE / ".vagrant"
SSH_CONFIG = STATE_FOLDER / "ssh-config"
# Tells the Vagrantfile that the lab is at the wheel already.
ENVIRONMENT = {
    "PORTSIDE_LAB": "1",
    "VAGRANT_CHECKPOINT_DISABLE": "1",
    "VAGRANT_CWD": str(CLONE),
    "VAGRANT_NO_COLOR": "1",
}


def run(*arguments: str) -> str:
    # Run from our folder, not from the clone: vagrant-lxc drops temporary files where it stands.
    STATE_FOLDER.mkdir(exist_ok=True)
    return commands.run_tied("vagrant", *arguments, env=ENVIRONMENT, cwd=STATE_FOLDER)


def is_installed() -> bool:
    return shutil.which("vagrant") is not None


def forget() -> None:
    shutil.rmtree(STATE_FOLDER, ignore_errors=True)


def box_folder(name: str) -> Path:
    """Where Vagrant keeps a box that has no version, as ours."""
    home = Path(os.environ.get("VAGRANT_HOME") or Path.home() / ".vagrant.d")
    return home / "boxes" / name.replace("/", "-VAGRANTSLASH-") / "0" / "lxc"


def knows(machine: Machine) -> bool:
    """Whether Vagrant made this machine's container from this clone, to the end."""
    id_file = STATE_FOLDER / "machines" / machine.name / "lxc" / "id"
    return id_file.exists() and id_file.read_text().strip() == machine.container


def write_ssh_config(machines: list[Machine]) -> None:
    dump = run("ssh-config", *(machine.name for machine in machines))
    SSH_CONFIG.write_text(with_full_names(dump, machines))


def with_full_names(dump: str, machines: list[Machine]) -> str:
    """Let s01.portside.test stand for s01 too."""
    for machine in machines:
        both = f"Host {machine.name} {machine.host}"
        dump = re.sub(rf"^Host {machine.name}$", both, dump, flags=re.MULTILINE)
    return dump


def addresses_in(ssh_config: str) -> dict[str, str]:
    """Name to address, as far as the file tells."""
    return dict(re.findall(r"^Host (\S+).*\n\s+HostName (\S+)", ssh_config, re.MULTILINE))
