"""The resume bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.machine import Machine
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section
from portside.quantities import format_size

MOST_ADDED = 0.100
"""Seconds that a resumed upload may wait longer after its last byte than an uninterrupted one."""

WHOLE = "uninterrupted"
KILLED = "agent killed"
RESTARTED = "agent restarted"
PARALLEL = "in parts"

_HEADS = (
    "upload",
    "seconds",
    "best",
    "wait at 100 %",
    "longest wait",
    "start to offset",
    "sent twice",
    "peak RSS",
)
_NONE = "-"

_METHOD = """\
Resumable uploads (tus) of one file through nginx. The seconds are those of all requests, from the
one that begins the upload to the answer; an agent's absence is not counted. Uninterrupted: one
PATCH. Cut uploads stop at 90 %: the agent is killed with SIGKILL while the client is still
connected, or the client hangs up and then the agent is restarted in order; either way it is asked
for the offset until it answers, through nginx, and gets the rest in one PATCH. "Start to offset" is
from the start of the agent to that answer; "sent twice" is what the client had handed to its kernel
at the cut beyond the offset it was told. In parts: {parts} parts over {connections} connections,
cut as `portside put --parallel {connections}` cuts them. The wait there is that of the request that
joins them: on loopback they come in faster than a node reads them back and hashes them, and it
shows by how much. Any other wait is from the return of the client's last send to the status line.
Kinds take turns after a warm-up round, figures are medians, each upload's content is compared by
SHA-256. A promise about the wait is held against the median of each round's difference to its
uninterrupted upload. RSS is the gunicorn worker's, the highest of all rounds, since its last
start."""


@dataclass(frozen=True, slots=True)
class Run:
    """One upload. Seconds; bytes. `ready` and `sent_twice` only where it was interrupted."""

    seconds: float
    wait: float
    peak_memory: int
    ready: float | None = None
    sent_twice: int | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Every counted run by the kind of upload, in the order of the rounds."""

    size: int
    connections: int
    parts: int
    runs: Mapping[str, Sequence[Run]]


def rows(figures: Figures) -> list[list[str]]:
    """One row per kind of upload."""
    return [_row(kind, runs) for kind, runs in figures.runs.items()]


def _row(kind: str, runs: Sequence[Run]) -> list[str]:
    ready = [run.ready for run in runs if run.ready is not None]
    twice = [run.sent_twice for run in runs if run.sent_twice is not None]
    return [
        kind,
        f"{median(run.seconds for run in runs):.2f}",
        f"{min(run.seconds for run in runs):.2f}",
        _milliseconds(median(run.wait for run in runs)),
        _milliseconds(max(run.wait for run in runs)),
        f"{median(ready):.2f} s" if ready else _NONE,
        format_size(round(median(twice))) if twice else _NONE,
        f"{max(run.peak_memory for run in runs) / 1e6:.0f} MB",
    ]


def added_wait(runs: Sequence[Run], whole: Sequence[Run]) -> float:
    """Seconds more than an uninterrupted upload's, round by round, the median of them."""
    return median(run.wait - other.wait for run, other in zip(runs, whole, strict=True))


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of interrupted uploads, held against these figures."""
    added = {
        kind: added_wait(figures.runs[kind], figures.runs[WHOLE]) for kind in (KILLED, RESTARTED)
    }
    return [
        Verdict(
            f"a resumed upload waits at most {MOST_ADDED * 1000:.0f} ms longer at its end",
            ", ".join(f"{kind}: {seconds * 1000:+.0f} ms" for kind, seconds in added.items()),
            all(seconds <= MOST_ADDED for seconds in added.values()),
        )
    ]


def show(console: Console, figures: Figures) -> None:
    """Table and verdicts on the terminal."""
    print_table(console, _title(figures), _HEADS, rows(figures))
    print_verdicts(console, verdicts(figures))


def markdown(machine: Machine, figures: Figures) -> str:
    """The body of the section in RESULTS.md."""
    return section(
        _title(figures),
        machine.lines(),
        [markdown_table(_HEADS, rows(figures))],
        verdicts(figures),
        _METHOD.format(parts=figures.parts, connections=figures.connections),
    )


def _title(figures: Figures) -> str:
    rounds = len(figures.runs[WHOLE])
    counted = "1 round" if rounds == 1 else f"{rounds} rounds"
    return f"One file of {format_size(figures.size)} cut and resumed, {counted}"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
