"""The machines as LXC containers: made from an image, started, looked at, removed.

A container's configuration is written last: what an interrupted run left has none, and is made
anew by the next one.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from lab import network
from lab.commands import Problem, run, run_tied, succeeds
from lab.machines import Machine

FOLDER = Path("/var/lib/lxc")
SETTINGS = Path(__file__).with_name("image") / "lxc-config"
UNIFIED_CGROUPS = Path("/sys/fs/cgroup/cgroup.controllers")
ADDRESS_DEADLINE = 120.0


@dataclass(frozen=True)
class Container:
    """What LXC says of one."""

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


def start(machine: Machine, image: Path) -> None:
    """Bring a machine up, whatever it was before: absent, half made or stopped."""
    found = look(machine)
    if found.state in ("absent", "broken"):
        remove(machine)
        _make(machine, image)
    if found.state != "running":
        run("lxc-start", "--name", machine.container)
    _wait_for_address(machine)


def _make(machine: Machine, image: Path) -> None:
    folder = FOLDER / machine.container
    rootfs = folder / "rootfs"
    rootfs.mkdir(parents=True)
    run_tied("tar", "--extract", "--numeric-owner", f"--file={image}", f"--directory={rootfs}")
    (rootfs / "etc" / "hostname").write_text(f"{machine.name}\n", encoding="utf-8")
    text = configuration(machine, network.bridge(), unified=UNIFIED_CGROUPS.exists())
    (folder / "config").write_text(text, encoding="utf-8")


def configuration(machine: Machine, bridge: str, unified: bool) -> str:
    """lxc.container.conf(5) for a machine; `unified` is cgroup v2, by which the keys differ."""
    cgroup = "lxc.cgroup2" if unified else "lxc.cgroup"
    memory = "memory.max" if unified else "memory.limit_in_bytes"
    lines = [
        f"lxc.rootfs.path = dir:{FOLDER / machine.container / 'rootfs'}",
        f"lxc.uts.name = {machine.name}",
        "lxc.net.0.type = veth",
        f"lxc.net.0.link = {bridge}",
        "lxc.net.0.flags = up",
        f"lxc.net.0.hwaddr = {machine.hardware_address}",
        # Loop devices, and what hands them out.
        f"{cgroup}.devices.allow = b 7:* rwm",
        f"{cgroup}.devices.allow = c 10:237 rwm",
        *([f"{cgroup}.{memory} = {machine.memory_mib}M"] if machine.memory_mib else []),
    ]
    return SETTINGS.read_text(encoding="utf-8") + "".join(f"{line}\n" for line in lines)


def _wait_for_address(machine: Machine) -> None:
    deadline = time.monotonic() + ADDRESS_DEADLINE
    while not look(machine).is_up:
        if time.monotonic() > deadline:
            raise Problem(
                f"{machine.name} has no address after {ADDRESS_DEADLINE:.0f} s.\n"
                f"Look at it from inside:  lxc-attach {machine.container}"
            )
        time.sleep(0.2)


def remove(machine: Machine) -> None:
    if look(machine).state not in ("absent", "broken", "stopped"):
        run("lxc-stop", "--kill", "--name", machine.container)
    folder = FOLDER / machine.container
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        # The mount point of a data disk is immutable: deploys/operations/block_device.py.
        succeeds("find", str(folder), "-xdev", "-type", "d", "-exec", "chattr", "-i", "{}", "+")
        shutil.rmtree(folder, ignore_errors=True)
