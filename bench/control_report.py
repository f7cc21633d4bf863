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
a closed one, each connection asking again at once. Clients, database and control plane share the
machine's cores: what they take is in the table, in cores (one core is 1.00). Files come into the
catalogue by bulk inserts, {copies} copies each, evenly over the nodes; at the end
`portside-control check --counters` counts every counter again."""


@dataclass(frozen=True, slots=True)
class Step:
    """Some seconds at one rate; None is as fast as it goes.

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
    runs: Mapping[str, Run]


def rows(run: Run) -> list[list[str]]:
    """One row per step."""
    return [
        [
            "as fast as it goes" if step.rate is None else f"{step.rate:.0f} a second",
            f"{len(step.sessions) / step.seconds:.0f}",
            _milliseconds(median(step.sessions)) if step.sessions else "-",
            _milliseconds(percentile(step.sessions, 0.99)) if step.sessions else "-",
            _milliseconds(max(step.sessions)) if step.sessions else "-",
            f"{len(step.heartbeats) / step.seconds:.0f}",
            _milliseconds(median(step.heartbeats)) if step.heartbeats else "-",
            _milliseconds(percentile(step.heartbeats, 0.99)) if step.heartbeats else "-",
            *(f"{step.cores[kind]:.2f}" for kind in ("web", "worker", "database", "clients")),
            str(len(step.failures)),
        ]
        for step in run.steps
    ]


def sustained(run: Run) -> float | None:
    """The highest planned rate up to which every step kept the promised time; None for none."""
    highest = None
    for step in sorted((s for s in run.steps if s.rate is not None), key=lambda s: s.rate or 0):
        if not _kept(step):
            break
        highest = step.rate
    return highest


def _kept(step: Step) -> bool:
    return (
        not step.failures
        and bool(step.sessions)
        and percentile(step.sessions, 0.99) < LONGEST_SESSION
    )


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of the control plane, held against these figures."""
    found = []
    for name, run in figures.runs.items():
        step = next((step for step in run.steps if step.rate == PROMISED_RATE), None)
        if step is None:
            continue
        p99 = _milliseconds(percentile(step.sessions, 0.99)) if step.sessions else "no session"
        highest = sustained(run)
        reached = "none" if highest is None else f"{highest:.0f} a second"
        found.append(
            Verdict(
                f"{name}: 99 of 100 sessions under {LONGEST_SESSION * 1000:.0f} ms "
                f"at {PROMISED_RATE} a second",
                f"{p99}, {len(step.failures)} failures; "
                f"highest rate that was sustained so: {reached}",
                _kept(step),
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
