"""The crowd bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.machine import Machine
from bench.measurement import GIGABYTE
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section
from portside import sizing
from portside.quantities import format_size
from portside.sizing import Sizing

_HEADS = (
    "uploads",
    "of them open at once",
    "seconds",
    "GB/s",
    "answer, median",
    "slowest answer",
    "CPU s/GB",
    "failures",
    "peak RSS",
    "RSS at rest",
)

_METHOD = """\
{uploads} uploads of {size} each through nginx to an agent sized for a node with 4 GiB and 2 cores:
half of them PUT, half resumable (one PATCH), every one on a connection of its own and with content
of its own. All send their first half and stay open; how many are open is what the agent's
upload-status says then. Then all send their second half at once. Seconds are those of sending, both
halves together; an answer's are from the upload's last byte to its status line. What is stored is
compared by SHA-256. RSS is the gunicorn worker's, at its peak and before the first upload of the
round. Sizing's figure is AGENT_BASE, upload_memory for each upload, and the stacks of its threads
and of the spare ones (portside.sizing)."""


@dataclass(frozen=True, slots=True)
class Run:
    """One crowd. Seconds; bytes; `answers` has the wait of each upload that was stored."""

    seconds: float
    cpu: float
    answers: Sequence[float]
    failures: Sequence[str]
    open_at_once: int
    peak_memory: int
    memory_at_rest: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Every round of `uploads` uploads of `size` bytes."""

    uploads: int
    size: int
    sizing: Sizing
    runs: Sequence[Run]


def memory_allowed(uploads: int, numbers: Sizing) -> int:
    """Bytes that the agent's worker may have with so many uploads, by what sizing says."""
    threads = uploads * sizing.THREADS_PER_UPLOAD + sizing.SPARE_THREADS
    return sizing.AGENT_BASE + uploads * numbers.upload_memory + threads * sizing.THREAD_STACK


def rows(figures: Figures) -> list[list[str]]:
    """One row per round."""
    return [_row(figures, run) for run in figures.runs]


def _row(figures: Figures, run: Run) -> list[str]:
    gigabytes = figures.uploads * figures.size / GIGABYTE
    return [
        str(figures.uploads),
        str(run.open_at_once),
        f"{run.seconds:.2f}",
        f"{gigabytes / run.seconds:.2f}",
        f"{median(run.answers):.2f} s" if run.answers else "-",
        f"{max(run.answers):.2f} s" if run.answers else "-",
        f"{run.cpu / gigabytes:.2f}",
        str(len(run.failures)),
        f"{run.peak_memory / 1e6:.0f} MB",
        f"{run.memory_at_rest / 1e6:.0f} MB",
    ]


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of many uploads at once, held against these figures."""
    failures = sum(len(run.failures) for run in figures.runs)
    fewest = min(run.open_at_once for run in figures.runs)
    allowed = memory_allowed(figures.uploads, figures.sizing)
    highest = max(run.peak_memory for run in figures.runs)
    return [
        Verdict(
            f"{figures.uploads} uploads at once without one failure",
            f"{failures} failures, {fewest} open at once",
            failures == 0 and fewest == figures.uploads,
        ),
        Verdict(
            f"RSS within what sizing says for them, {allowed / 1e6:.0f} MB",
            f"{highest / 1e6:.0f} MB",
            highest <= allowed,
        ),
    ]


def show(console: Console, figures: Figures) -> None:
    """Table, verdicts and the reasons of failures on the terminal."""
    print_table(console, _title(figures), _HEADS, rows(figures))
    for reason in sorted({reason for run in figures.runs for reason in run.failures}):
        console.print(reason, style="red", markup=False)
    print_verdicts(console, verdicts(figures))


def markdown(machine: Machine, figures: Figures) -> str:
    """The body of the section in RESULTS.md."""
    return section(
        _title(figures),
        machine.lines(),
        [markdown_table(_HEADS, rows(figures))],
        verdicts(figures),
        _METHOD.format(uploads=figures.uploads, size=format_size(figures.size)),
    )


def _title(figures: Figures) -> str:
    rounds = len(figures.runs)
    counted = "1 round" if rounds == 1 else f"{rounds} rounds"
    return f"{figures.uploads} uploads of {format_size(figures.size)} at once, {counted}"
