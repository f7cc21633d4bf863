"""The catalogue bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.machine import Machine
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section

LONGEST_PAGE = 0.020
"""Seconds for a page of a listing."""
SLOWEST_REINDEX = 2000
"""Files a second."""

_PAGE_HEADS = ("page of 100", "median", "p99", "worst")
_RUN_HEADS = ("command", "seconds", "files a second", "peak RSS")

_METHOD = """\
The files are made by the agent's own code, without the uploads: data, attributes, rows. Pages are
asked for over one connection through nginx, from a node sized for 4 GiB and 2 cores, with an access
token that allows everything; the kinds of page take turns. A promise about pages is held against
the 99th percentile of each kind. Commands are the node's own, from start to end, Python's start
included; `reindex` begins without an index."""


@dataclass(frozen=True, slots=True)
class Run:
    """A command's seconds and its peak of resident bytes."""

    seconds: float
    peak_memory: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured: seconds of each request by the kind of page, runs by command."""

    files: int
    pages: Mapping[str, Sequence[float]]
    runs: Mapping[str, Run]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` (0 to 1) of all values don't exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(rank, 1) - 1]


def page_rows(figures: Figures) -> list[list[str]]:
    """One row per kind of page."""
    return [
        [kind, *(_milliseconds(each) for each in (median(s), percentile(s, 0.99), max(s)))]
        for kind, s in figures.pages.items()
    ]


def run_rows(figures: Figures) -> list[list[str]]:
    """One row per command."""
    return [
        [
            command,
            f"{run.seconds:.2f}",
            f"{figures.files / run.seconds:.0f}",
            f"{run.peak_memory / 1e6:.0f} MB",
        ]
        for command, run in figures.runs.items()
    ]


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of many files, held against these figures."""
    slowest = max(percentile(seconds, 0.99) for seconds in figures.pages.values())
    speed = figures.files / figures.runs["reindex"].seconds
    return [
        Verdict(
            f"a page under {LONGEST_PAGE * 1000:.0f} ms",
            f"at most {_milliseconds(slowest)} in 99 of 100",
            slowest < LONGEST_PAGE,
        ),
        Verdict(
            f"reindex at least {SLOWEST_REINDEX} files a second",
            f"{speed:.0f}",
            speed >= SLOWEST_REINDEX,
        ),
    ]


def show(console: Console, figures: Figures) -> None:
    """Tables and verdicts on the terminal."""
    title = f"{figures.files} files"
    print_table(console, title, _PAGE_HEADS, page_rows(figures))
    print_table(console, title, _RUN_HEADS, run_rows(figures))
    print_verdicts(console, verdicts(figures))


def markdown(machine: Machine, figures: Figures) -> str:
    """The body of the section in RESULTS.md."""
    return section(
        f"{figures.files} files on one node",
        machine.lines(),
        [
            markdown_table(_PAGE_HEADS, page_rows(figures)),
            markdown_table(_RUN_HEADS, run_rows(figures)),
        ],
        verdicts(figures),
        _METHOD,
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
