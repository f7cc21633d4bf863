"""The control plane bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.catalogue_report import percentile
from bench.machine import Machine
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section

PROMISED_RATE = 200
"""Sessions a second."""
LONGEST_SESSION = 0.025
"""Seconds to open one."""

_HEADS = (
    "sessions wanted",
    "a second",
    "p50",
    "p99",
    "p99 of each round",
    "worst",
    "heartbeats a second",
    "their p50",
    "their p99",
    "cores: web",
    "worker",
    "database",
    "clients",
    "failures",
)

_METHOD = """\
Real heartbeats, each signed by its node's key and sent every {every:.0f} s, and requests for
sessions with an API key (no Idempotency-Key; the next file's size and name), over plain HTTP on
kept connections to gunicorn itself, as nginx keeps them behind it: {connections} connections for
sessions from {clients} processes, {beating} for heartbeats from one. gunicorn has the deploy's
settings: {threads} threads, one process on SQLite, two on PostgreSQL; the worker goes its rounds
beside, and asks every node from outside (one nginx answers for all of them). Commits are on disk
before they are acknowledged (PostgreSQL with its defaults). The schedule is an open loop: seconds
count from the moment for which a request was planned, so that queues show; "as fast as it goes" is
a closed one, each connection asking again at once. All rates come {rounds} times, one after the
other; what a row says is the median of these rounds (of failures their sum, of the worst request
the worst), and beside it the p99 of each: this machine is one of many on a computer that others use
too, and what that does shows as rounds that differ. Clients, database and control plane share the
machine's cores: what they take is in the table, in cores (one core is 1.00). Files come into the
catalogue by bulk inserts, {copies} copies each, evenly over the nodes; at the end
`portside-control check --counters` counts every counter again."""


@dataclass(frozen=True, slots=True)
class Step:
    """Some seconds at one rate, one round of it; None is as fast as it goes.

    Seconds of each request that was answered well, cores taken by the processes of each kind, and
    reasons of failures.
    """

    rate: float | None
    seconds: float
    """From the first planned moment to the last answer."""
    sessions: Sequence[float]
    heartbeats: Sequence[float]
    cores: Mapping[str, float]
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class Run:
    """One database: the seconds it took to fill it, the machine's load before the first step."""

    fill: float
    load: float
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured, by database; `every` is seconds between a node's heartbeats."""

    nodes: int
    files: int
    copies: int
    every: float
    connections: int
    clients: int
    beating: int
    threads: int
    rounds: int
    runs: Mapping[str, Run]


def rows(run: Run) -> list[list[str]]:
    """One row per rate."""
    return [
        [
            "as fast as it goes" if rate is None else f"{rate:.0f} a second",
            f"{median(len(step.sessions) / step.seconds for step in steps):.0f}",
            *_row_of_seconds([step.sessions for step in steps], each=True),
            f"{median(len(step.heartbeats) / step.seconds for step in steps):.0f}",
            *_row_of_seconds([step.heartbeats for step in steps])[:2],
            *(
                f"{median(step.cores[kind] for step in steps):.2f}"
                for kind in ("web", "worker", "database", "clients")
            ),
            str(sum(len(step.failures) for step in steps)),
        ]
        for rate, steps in _by_rate(run).items()
    ]


def _by_rate(run: Run) -> dict[float | None, list[Step]]:
    found: dict[float | None, list[Step]] = {}
    for step in run.steps:
        found.setdefault(step.rate, []).append(step)
    return found


def _row_of_seconds(rounds: Sequence[Sequence[float]], *, each: bool = False) -> list[str]:
    """p50, p99, with `each` the p99 of every round, and the worst, of what was answered well."""
    if not all(rounds):
        return ["-"] * (4 if each else 3)
    p99s = [percentile(seconds, 0.99) for seconds in rounds]
    return [
        _milliseconds(median(median(seconds) for seconds in rounds)),
        _milliseconds(median(p99s)),
        *([" ".join(f"{p99 * 1000:.1f}" for p99 in p99s)] if each else []),
        _milliseconds(max(max(seconds) for seconds in rounds)),
    ]


def sustained(run: Run) -> float | None:
    """The highest planned rate up to which every one kept the promised time; None for none."""
    highest = None
    by_rate = {rate: steps for rate, steps in _by_rate(run).items() if rate is not None}
    for rate in sorted(by_rate):
        if not _kept(by_rate[rate]):
            break
        highest = rate
    return highest


def _kept(steps: Sequence[Step]) -> bool:
    return (
        not any(step.failures for step in steps)
        and all(step.sessions for step in steps)
        and _p99(steps) < LONGEST_SESSION
    )


def _p99(steps: Sequence[Step]) -> float:
    """Of the median round, in seconds."""
    return median(percentile(step.sessions, 0.99) for step in steps)


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of the control plane, held against these figures."""
    found = []
    for name, run in figures.runs.items():
        steps = _by_rate(run).get(PROMISED_RATE)
        if not steps:
            continue
        answered = all(step.sessions for step in steps)
        p99 = _milliseconds(_p99(steps)) if answered else "a round without a session"
        failures = sum(len(step.failures) for step in steps)
        highest = sustained(run)
        reached = "none" if highest is None else f"{highest:.0f} a second"
        found.append(
            Verdict(
                f"{name}: 99 of 100 sessions under {LONGEST_SESSION * 1000:.0f} ms "
                f"at {PROMISED_RATE} a second",
                f"{p99} in the median of {len(steps)} rounds, {failures} failures; "
                f"highest rate that was sustained so: {reached}",
                _kept(steps),
            )
        )
    return found


def show(console: Console, figures: Figures) -> None:
    """Tables, verdicts and the reasons of failures on the terminal."""
    for name, run in figures.runs.items():
        print_table(console, _caption(name, run), _HEADS, rows(run))
        for reason in sorted({reason for step in run.steps for reason in step.failures})[:5]:
            console.print(reason, style="red", markup=False)
    print_verdicts(console, verdicts(figures))


def markdown(machine: Machine, figures: Figures) -> str:
    """The body of the section in RESULTS.md."""
    method = _METHOD.format(
        every=figures.every,
        connections=figures.connections,
        clients=figures.clients,
        beating=figures.beating,
        threads=figures.threads,
        rounds=figures.rounds,
        copies=figures.copies,
    )
    return section(
        f"{figures.nodes} nodes' heartbeats and sessions with {figures.files} files in the "
        "catalogue",
        machine.lines(),
        [
            f"{_caption(name, run)}\n\n{markdown_table(_HEADS, rows(run))}"
            for name, run in figures.runs.items()
        ],
        verdicts(figures),
        method,
    )


def _caption(name: str, run: Run) -> str:
    return f"{name}: filled in {run.fill:.0f} s, load {run.load:.1f} before the first step"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
