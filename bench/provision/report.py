"""The provisioning bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.machine import Machine
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section

OURS, PLAIN, MITOGEN = "ours", "Ansible, pipelining", "Ansible, Mitogen"

MOST_SECONDS = 90
"""From a bare node to the first upload that it accepts."""
LEAST_RATIO = 8
"""Times as fast as plain Ansible."""
MOST_COMMANDS = 12
"""SSH commands to each host in a run that changes nothing."""

_HEADS = (
    "nothing to change, 3 nodes",
    "round trip",
    "seconds",
    "least",
    "most",
    "times ours",
    "least",
    "most",
    "SSH commands a host",
)

_METHOD = """\
Three machines of a lab of the bench's own (LXC, systemd, sshd; a control plane and two storage
nodes, Debian 12 and 13), beside everything else on this machine's cores, the nodes' own work among
it: it is the ratios that say something. Each round has all three in turn over the same nodes, and
each run begins without a connection; a run that changes anything doesn't count but ends the bench.
Ratios are those of one round. The playbook (bench/provision/playbook) brings what our deploy was
found to have brought to these very nodes: the same files with their owners and modes, folders,
packages, users, kernel settings, releases and services; it has none of what our deploy
looks at besides (who listens, the clock, what the kernel really has, services that run what their
files say, a node's data disk). Debian's Ansible with pipelining, ControlPersist and forks for all
hosts, fact gathering as it comes; Mitogen by `strategy = mitogen_linear`. A round trip of 80 ms is
made by a proxy in front of sshd that hands on every byte 40 ms later. SSH commands are counted by
the nodes' sshd (`Starting session`), file transfers among them. From a bare node to its first
upload is one command and a `portside put`, packages from a mirror included; the release is built
beforehand, as it is for all but the first run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run over three nodes that changes nothing. `commands` is of the host with the most."""

    seconds: float
    commands: int


@dataclass(frozen=True, slots=True)
class Figures:
    """`first_uploads` are seconds from a bare node to an upload that it accepted. `runs` are by
    milliseconds of round trip, then by whose they are, in the order of the rounds."""

    first_uploads: Mapping[str, float]
    runs: Mapping[int, Mapping[str, Sequence[Run]]]
    load: float
    """This machine's, as it was before each run, in the mean."""


def ratios(runs: Mapping[str, Sequence[Run]], name: str) -> list[float]:
    """Round by round, how many times our seconds a contender took."""
    pairs = zip(runs[name], runs[OURS], strict=True)
    return [other.seconds / ours.seconds for other, ours in pairs]


def rows(figures: Figures) -> list[list[str]]:
    """One for each contender at each round trip."""
    return [
        _row(name, milliseconds, runs)
        for milliseconds, runs in figures.runs.items()
        for name in runs
    ]


def _row(name: str, milliseconds: int, runs: Mapping[str, Sequence[Run]]) -> list[str]:
    seconds = [run.seconds for run in runs[name]]
    times = ratios(runs, name)
    return [
        name,
        f"{milliseconds} ms",
        *(f"{value:.1f}" for value in (median(seconds), min(seconds), max(seconds))),
        *(f"{value:.1f}" for value in (median(times), min(times), max(times))),
        str(max(run.commands for run in runs[name])),
    ]


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """What the project promises of provisioning."""
    slowest = max(figures.first_uploads.values())
    yield Verdict(
        f"a bare node takes its first upload within {MOST_SECONDS} s",
        ", ".join(f"{name} {seconds:.0f} s" for name, seconds in figures.first_uploads.items()),
        slowest <= MOST_SECONDS,
    )
    for milliseconds, runs in figures.runs.items():
        plain, mitogen = ratios(runs, PLAIN), ratios(runs, MITOGEN)
        yield Verdict(
            f"at {milliseconds} ms at least {LEAST_RATIO} x as fast as Ansible",
            f"{median(plain):.1f} x in the median, {min(plain):.1f} to {max(plain):.1f}",
            median(plain) >= LEAST_RATIO,
        )
        yield Verdict(
            f"at {milliseconds} ms not slower than Ansible with Mitogen",
            f"{median(mitogen):.1f} x in the median, {min(mitogen):.1f} to {max(mitogen):.1f}",
            median(mitogen) >= 1,
        )
        most = max(run.commands for run in runs[OURS])
        yield Verdict(
            f"at {milliseconds} ms at most {MOST_COMMANDS} SSH commands to a host",
            str(most),
            most <= MOST_COMMANDS,
        )


def show(console: Console, figures: Figures) -> None:
    """On the terminal."""
    print_table(console, "Runs that change nothing", _HEADS, rows(figures))
    print_verdicts(console, list(verdicts(figures)))


def markdown(machine: Machine, figures: Figures) -> str:
    """The section of RESULTS.md."""
    return section(
        "From a bare node to one that serves, and runs that change nothing, beside Ansible",
        [
            *machine.lines(),
            f"load {figures.load:.1f} in the mean before each run, the runs' own among it",
        ],
        [markdown_table(_HEADS, rows(figures))],
        list(verdicts(figures)),
        _METHOD,
    ).replace("`make bench`", "`python -m bench.provision`")
