"""`python -m bench.provision`: a lab of its own, from bare machines to a table beside Ansible's.

Ends with the terminal's table, `build/bench/provision.json` and the section `provision` of
`bench/RESULTS.md`. Wants Debian's packages ansible and ansible-mitogen, and root, for the lab.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Annotated

import typer

from bench.command import Bench, Directory, Record, Rounds, Tell
from bench.packages import PeerMissing
from bench.provision import ansible, machines, report
from bench.provision.ansible import AnsibleFailed, Playbook
from bench.provision.brought import brought, listed
from bench.provision.delay import far_away
from bench.provision.machines import FIRST, NODES, SECOND, LabFailed
from bench.provision.operator import DeployFailed, Operator
from bench.provision.report import MITOGEN, OURS, PLAIN, Figures, Run
from lab.machines import CLONE, Lab

FAR = 80
"""Milliseconds of round trip: to a node across an ocean. The other way is the lab's own."""

_SSH = 22

_BENCH = Bench(
    "provision",
    report.show,
    report.markdown,
    (LabFailed, DeployFailed, AnsibleFailed, PeerMissing, OSError, subprocess.CalledProcessError),
    width=140,
)


Minutes = Annotated[
    int | None, typer.Option(help="No round begins after so long, however many are wanted.")
]


def main(
    rounds: Rounds = 5, minutes: Minutes = None, directory: Directory = None, record: Record = True
) -> None:
    """Bring nodes up, then let ours and Ansible look at them in turn."""
    until = time.monotonic() + (minutes * 60 if minutes else math.inf)
    _BENCH.run(lambda place, tell: _measured(place, rounds, until, tell), directory, record)


def _measured(place: Path, rounds: int, until: float, tell: Tell) -> Figures:
    ansible.check()
    tell("building the releases")
    subprocess.run([sys.executable, "-m", "deploys.wheelhouse"], cwd=CLONE, check=True)
    tell("booting three bare machines")
    with machines.bare() as lab, tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name).resolve()
        addresses = machines.addresses(lab)
        near = _operator(folder, "near", {each: (to, _SSH) for each, to in addresses.items()})
        bare = {each: listed(lab, each) for each in NODES}
        firsts = {}
        for node_id in (FIRST, SECOND):
            tell(f"{node_id}, from bare to its first upload")
            firsts[node_id] = _seconds(partial(_first_upload, near, node_id))
        tell("the whole cluster")
        near.deploy()
        machines.count_logins(lab)
        new = {each: brought(lab, each, bare[each]) for each in NODES}
        ansible.prepare(lab, folder / "playbook", new)
        with far_away(addresses, _SSH, FAR / 1000) as ports:
            places = {each: ("127.0.0.1", port) for each, port in ports.items()}
            far = _operator(folder, "far", places)
            # By another way the nodes have other names: their host keys are noted down, a change.
            far.deploy()
            return _rounds(lab, {0: near, FAR: far}, firsts, rounds, until, tell)


def _operator(folder: Path, name: str, places: dict[str, tuple[str, int]]) -> Operator:
    config = folder / name
    machines.write_ssh_config(config, places)
    operator = Operator(folder, config)
    operator.begin()
    return operator


def _first_upload(operator: Operator, node_id: str) -> None:
    operator.deploy("--limit", node_id)
    operator.upload(node_id)


def _rounds(
    lab: Lab,
    ways: Mapping[int, Operator],
    firsts: Mapping[str, float],
    rounds: int,
    until: float,
    tell: Tell,
) -> Figures:
    """Each of them in turn, by each way: what else this machine does meets all of them."""
    contenders = [
        (milliseconds, name, run)
        for milliseconds, operator in ways.items()
        for name, run in _contenders(operator).items()
    ]
    runs = {each: {name: list[Run]() for name in (OURS, PLAIN, MITOGEN)} for each in ways}
    loads = []
    for number in range(rounds):
        if number and time.monotonic() > until:
            break
        for milliseconds, name, run in contenders:
            tell(f"round {number + 1}: {name}, {milliseconds} ms")
            loads.append(os.getloadavg()[0])
            before = {each: machines.sessions(lab, each) for each in NODES}
            seconds = _seconds(run)
            most = max(machines.sessions(lab, each) - before[each] for each in NODES)
            runs[milliseconds][name].append(Run(seconds, most))
    return Figures(firsts, runs, mean(loads))


def _contenders(operator: Operator) -> dict[str, Callable[[], None]]:
    playbook = Playbook(operator.folder / "playbook", operator.ssh_config)
    return {
        OURS: operator.deploy_again,
        PLAIN: lambda: playbook.run("linear"),
        MITOGEN: lambda: playbook.run("mitogen_linear"),
    }


def _seconds(action: Callable[[], None]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


if __name__ == "__main__":
    typer.run(main)
