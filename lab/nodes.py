"""Checks over SSH that each machine is what the tests will take it for, and introduces them."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from lab import hosts_file, ssh_config
from lab.commands import Problem, explain
from lab.machines import Machine
from lab.terminal import say

SSH_DEADLINE = 180.0
BOOT_DEADLINE = 240.0
SET_NAMES = """
set -e
test "$(hostname)" = {name} || sudo hostnamectl set-hostname {name}
wanted=$(cat)
test "$(cat /etc/hosts)" = "$wanted" || echo "$wanted" | sudo tee /etc/hosts >/dev/null
hostname
hostname -f
"""


def settle(addresses: dict[Machine, str]) -> None:
    """Bring all machines to a known state: reachable, booted, named, knowing each other."""
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        for notes in pool.map(lambda machine: _settle_one(machine, addresses), addresses):
            for note in notes:
                say(note)


def _settle_one(machine: Machine, addresses: dict[Machine, str]) -> list[str]:
    wait_for_ssh(machine)
    set_names(machine, hosts_file.for_machine(addresses))
    return wait_for_boot(machine)


def wait_for_ssh(machine: Machine) -> None:
    deadline = time.monotonic() + SSH_DEADLINE
    while (done := ssh(machine, "true")).returncode != 0:
        if time.monotonic() > deadline:
            raise Problem(
                f"{machine.name} does not answer over SSH after {SSH_DEADLINE:.0f} s: "
                f"{done.stderr.strip()}\nLook at it from inside:  lxc-attach {machine.container}"
            )
        time.sleep(0.3)


def set_names(machine: Machine, hosts: str) -> None:
    """A machine's own name leads to its real address, as the others see it."""
    answered = checked(machine, SET_NAMES.format(name=machine.name), hosts).split()
    if answered != [machine.name, machine.host]:
        raise Problem(f"{machine.name} calls itself {answered}, not {machine.name}, {machine.host}")


def wait_for_boot(machine: Machine) -> list[str]:
    """systemd's own verdict; failed units are worth a line but no reason to stop."""
    script = f"timeout {BOOT_DEADLINE:.0f} systemctl is-system-running --wait"
    verdict = ssh(machine, script).stdout.strip()
    if verdict == "running":
        return []
    if verdict == "degraded":
        failed = checked(machine, "systemctl --failed --plain --no-legend")
        return [f"  note   {machine.name}: {line}" for line in failed.splitlines()]
    config = ssh_config.path_of(machine.lab)
    raise Problem(
        f"{machine.name} did not finish booting in {BOOT_DEADLINE:.0f} s ({verdict or 'no answer'})"
        f".\nWhat it waits for:  ssh -F {config} {machine.name} systemctl list-jobs"
    )


def checked(machine: Machine, script: str, text: str = "") -> str:
    done = ssh(machine, script, text)
    if done.returncode != 0:
        command = ("ssh", machine.name, script)
        raise Problem(explain(command, done.returncode, done.stdout + done.stderr))
    return done.stdout


def ssh(machine: Machine, script: str, text: str = "") -> subprocess.CompletedProcess[str]:
    config = str(ssh_config.path_of(machine.lab))
    command = ["ssh", "-F", config, "-o", "ConnectTimeout=5", machine.name, script]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
