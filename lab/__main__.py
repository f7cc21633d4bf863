"""python3 -m lab up | down | status | prepare: a lab from nothing, and back to nothing."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import (
    containers,
    hosts_file,
    images,
    machines,
    network,
    nodes,
    packages,
    ssh_config,
    state,
)
from lab.commands import Problem
from lab.machines import CLONE, Lab
from lab.terminal import say, step


def up(lab: Lab) -> None:
    start = time.monotonic()
    built = prepare(lab)
    start_machines(lab, built)
    introduce(lab)
    config = ssh_config.path_of(lab.name).relative_to(CLONE)
    say(f"The lab is up, {time.monotonic() - start:.0f} s:  ssh -F {config} {lab.machines[0].name}")


def prepare(lab: Lab) -> dict[str, Path]:
    packages.install_missing()
    take_over(lab)
    network.start()
    return images.ensure(lab.releases)


def take_over(lab: Lab) -> None:
    """One lab of a name per computer: another clone's keeps its place as long as it runs."""
    owner = state.other_owner(lab.name, CLONE)
    if owner is None:
        return
    if any(containers.look(machine).is_up for machine in lab.machines):
        state.refuse_if_taken(lab.name, CLONE)
    with step(f"remove the lab of {owner}, which doesn't run"):
        for machine in lab.machines:
            containers.remove(machine)


def start_machines(lab: Lab, built: dict[str, Path]) -> None:
    state.claim(lab.name, CLONE)
    looks = {machine: containers.look(machine) for machine in lab.machines}
    down = [machine for machine, look in looks.items() if not look.is_up]
    if not down:
        return
    # A machine made anew makes itself a new key: there is nothing to compare it with.
    state.forget_node_keys(CLONE, [m for m in down if looks[m].state in ("absent", "broken")])
    with step("start " + " ".join(machine.name for machine in down)), ThreadPoolExecutor() as pool:
        list(pool.map(lambda machine: containers.start(machine, built[machine.release]), down))


def introduce(lab: Lab) -> None:
    """Let this computer and the machines know the machines' names."""
    addresses = {machine: containers.look(machine).address for machine in lab.machines}
    with step("check that each answers, has booted and knows the others"):
        ssh_config.write(lab, addresses)
        nodes.settle(addresses)
        hosts_file.write(lab.name, addresses)


def down(lab: Lab) -> None:
    owner = state.other_owner(lab.name, CLONE)
    if (
        owner is not None
        and owner.is_dir()
        and any(containers.look(each).is_up for each in lab.machines)
    ):
        state.refuse_if_taken(lab.name, CLONE)
    names = " ".join(machine.name for machine in lab.machines)
    with step(f"destroy {names}"), ThreadPoolExecutor() as pool:
        list(pool.map(containers.remove, lab.machines))
    hosts_file.remove(lab.name)
    ssh_config.remove(lab.name)
    if state.release(lab.name):
        network.stop()
        state.forget()


def status(lab: Lab) -> None:
    row = "{:<8} {:<10} {:<10} {:<9} {}"
    say(row.format("machine", "release", "memory", "state", "address"))
    for machine in lab.machines:
        look = containers.look(machine)
        memory = f"{machine.memory_mib} MiB" if machine.memory_mib else "all"
        say(row.format(machine.name, machine.release, memory, look.state, look.address))
    owner = state.other_owner(lab.name, CLONE)
    if owner is not None:
        say(f"This lab belongs to another clone: {owner}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "prepare"])
    parser.add_argument(
        "--machines",
        type=Path,
        default=machines.MACHINES_FILE,
        metavar="FILE",
        help="another lab than lab/machines.json has; several may be up at once",
    )
    arguments = parser.parse_args()
    # Being told to end is like being interrupted: leave through the same doors.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        packages.require_root_on_debian()
        lab = machines.load(arguments.machines)
        if arguments.command == "status":
            status(lab)
            return 0
        with state.locked():
            if arguments.command == "up":
                up(lab)
            elif arguments.command == "down":
                down(lab)
            else:
                prepare(lab)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same again, it finishes what is half done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
