"""Looks at the machines' containers directly, which takes milliseconds where Vagrant takes seconds.

Also clears away what an interrupted run left behind, so that the next one starts clean.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import vagrant
from lab.commands import run, succeeds
from lab.machines import Machine
from lab.terminal import step

FOLDER = Path("/var/lib/lxc")


@dataclass(frozen=True)
class Container:
    state: str  # running, stopped, ... or absent
    address: str  # empty as long as there is none

    @property
    def is_up(self) -> bool:
        return self.state == "running" and bool(self.address)


def look(machine: Machine) -> Container:
    if not (FOLDER / machine.container).exists():
        return Container("absent", "")
    # A container whose creation was cut short has a folder, and lxc-info fails for it.
    if not succeeds("lxc-info", "--name", machine.container):
        return Container("broken", "")
    return parse_info(run("lxc-info", "--name", machine.container, "--state", "--ips"))


def parse_info(text: str) -> Container:
    state = re.search(r"^State:\s+(\w+)", text, re.MULTILINE)
    address = re.search(r"^IP:\s+([0-9.]+)$", text, re.MULTILINE)
    return Container(state[1].lower() if state else "broken", address[1] if address else "")


def remove_half_made(machines: list[Machine]) -> None:
    """A container that Vagrant doesn't know would only be in the way of the one it makes next."""
    for machine in machines:
        if not vagrant.knows(machine) and look(machine).state != "absent":
            with step(f"remove the half-made {machine.name}"):
                remove(machine)


def remove(machine: Machine) -> None:
    if look(machine).state not in ("absent", "broken"):
        run("lxc-destroy", "--force", "--name", machine.container)
    shutil.rmtree(FOLDER / machine.container, ignore_errors=True)
