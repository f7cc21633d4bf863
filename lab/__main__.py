"""python3 -m lab up | down | status | prepare: the lab from nothing, and back to nothing."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lab import boxes, containers, hosts_file, machines, network, nodes, packages, state, vagrant
from lab.commands import Problem
from lab.machines import CLONE, Machine
from lab.terminal import say, step


def up(cluster: list[Machine], vagrant_options: list[str]) -> None:
    start = time.monotonic()
    prepare(cluster)
    start_machines(cluster, vagrant_options)
    introduce(cluster)
    say(f"The lab is up, {time.monotonic() - start:.0f} s:  ssh -F .vagrant/ssh-config s01")


def prepare(cluster: list[Machine]) -> None:
    packages.install_missing()
    take_over(cluster)
    network.start()
    boxes.ensure(machines.releases(cluster))


def take_over(cluster: list[Machine]) -> None:
    """One lab per computer: another clone's keeps its place as long as it runs."""
    owner = state.other_owner(CLONE)
    if owner is None:
        return
    if any(containers.look(machine).is_up for machine in cluster):
        state.refuse_if_taken(CLONE)
    with step(f"remove the lab of {owner}, which doesn't run"):
        for machine in cluster:
            containers.remove(machine)


def start_machines(cluster: list[Machine], vagrant_options: list[str]) -> None:
    state.claim(CLONE)
    containers.remove_half_made(cluster)
    if all(containers.look(machine).is_up for machine in cluster):
        return
    # A machine made anew makes itself a new key: there is nothing to compare it with.
    state.forget_node_keys(CLONE, [m for m in cluster if containers.look(m).state == "absent"])
    with step("start " + " ".join(machine.name for machine in cluster)):
        vagrant.run("up", "--provider=lxc", *vagrant_options)


def introduce(cluster: list[Machine]) -> None:
    """Let this computer and the machines know the machines' names."""
    looks = {machine: containers.look(machine) for machine in cluster}
    addresses = {machine: look.address for machine, look in looks.items() if look.is_up}
    with step("check that each answers, has booted and knows the others"):
        known = vagrant.SSH_CONFIG.read_text() if vagrant.SSH_CONFIG.exists() else ""
        if vagrant.addresses_in(known) != {each.name: addresses[each] for each in addresses}:
            vagrant.write_ssh_config(list(addresses))
        nodes.settle(addresses)
        hosts_file.write(addresses)


def down(cluster: list[Machine]) -> None:
    owner = state.other_owner(CLONE)
    if (
        owner is not None
        and owner.is_dir()
        and any(containers.look(each).is_up for each in cluster)
    ):
        state.refuse_if_taken(CLONE)
    if vagrant.is_installed():
        with step("destroy " + " ".join(machine.name for machine in cluster)):
            # All at once; Vagrant, which would take one after the other, then only forgets them.
            with ThreadPoolExecutor() as pool:
                list(pool.map(containers.remove, cluster))
            vagrant.run("destroy", "--force")
            vagrant.run("global-status", "--prune")
        with step("remove the boxes"):
            boxes.remove_all(machines.releases(cluster))
    hosts_file.remove()
    network.stop()
    vagrant.forget()
    state.forget()


def status(cluster: list[Machine]) -> None:
    row = "{:<8} {:<10} {:<10} {:<9} {}"
    say(row.format("machine", "release", "memory", "state", "address"))
    for machine in cluster:
        look = containers.look(machine)
        memory = f"{machine.memory_mib} MiB" if machine.memory_mib else "all"
        say(row.format(machine.name, machine.release, memory, look.state, look.address))
    owner = state.other_owner(CLONE)
    if owner is not None:
        say(f"This lab belongs to another clone: {owner}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m lab", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status", "prepare"])
    arguments, vagrant_options = parser.parse_known_args()
    if vagrant_options and arguments.command != "up":
        parser.error(f"unknown: {' '.join(vagrant_options)}")
    # Being told to end is like being interrupted: leave through the same doors.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        packages.require_root_on_debian()
        cluster = machines.load()
        if arguments.command == "status":
            status(cluster)
            return 0
        with state.locked():
            if arguments.command == "up":
                up(cluster, vagrant_options)
            elif arguments.command == "down":
                down(cluster)
            else:
                prepare(cluster)
    except Problem as problem:
        print(f"\n{problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run the same again, it finishes what is half done", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
