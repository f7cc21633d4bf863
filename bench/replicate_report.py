"""The replication bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.machine import Machine
from bench.promises import Verdict
from bench.report import markdown_table, print_table, print_verdicts, section
from portside.quantities import MIB, format_size

LEAST_SPEED = 0.9
"""Of rsync's over SSH on the same path."""

OURS = "ours"
RSYNC = "rsync over SSH"
RSYNC_SYNCED = "rsync over SSH, --fsync"
RCLONE = "rclone over SFTP"

_PROMISES: Mapping[str, str] = {
    OURS: "SHA-256, fsync, receipt",
    RSYNC: "its own checksum",
    RSYNC_SYNCED: "its own checksum, fsync",
    RCLONE: "checksum by reading again",
}

_HEADS = ("copy", "seconds", "best", "MiB/s", "speed to rsync's", "commit to copy", "promises")
_NONE = "-"

_METHOD = """\
One file from node to node on one machine: two nodes of ours with gunicorn, nginx and TLS 1.3 on
loopback, their settings rendered from the deploy's templates; beside it a private sshd with
Debian's defaults, rsync and rclone as they come. All read from and write to the same disk, and all
share the machine's cores: sender, encryption and receiver. Our seconds are those of the push by the
worker's own log, from the connection to the receipt that has come in and been checked: the copy is
hashed, synced and committed by then. "Commit to copy" is from the answer to the upload (TLS, to the
first node) until the first node tells of the copy, and has the worker's look for work in it. The
others' seconds are the command's, from start to exit; only with --fsync does rsync wait for the
disk. Their source is in the page cache; ours, just written past it, is read from the disk.
Contenders take turns after a warm-up round in which each copy is compared by SHA-256; figures are
medians. No bound on bytes per second is set."""


@dataclass(frozen=True, slots=True)
class Run:
    """One copy, in seconds. `since_commit` is ours alone."""

    seconds: float
    since_commit: float | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """Every counted run by contender, in the order of the rounds."""

    size: int
    runs: Mapping[str, Sequence[Run]]


def rows(figures: Figures) -> list[list[str]]:
    """One row per contender."""
    return [_row(figures, name, runs) for name, runs in figures.runs.items()]


def _row(figures: Figures, name: str, runs: Sequence[Run]) -> list[str]:
    seconds = _median(runs)
    since = [run.since_commit for run in runs if run.since_commit is not None]
    return [
        name,
        f"{seconds:.2f}",
        f"{min(run.seconds for run in runs):.2f}",
        f"{figures.size / MIB / seconds:.0f}",
        f"{_median(figures.runs[RSYNC]) / seconds:.2f}",
        f"{median(since):.2f} s" if since else _NONE,
        _PROMISES[name],
    ]


def _median(runs: Sequence[Run]) -> float:
    return median(run.seconds for run in runs)


def verdicts(figures: Figures) -> list[Verdict]:
    """What the project promises of copies, held against these figures."""
    ratio = _median(figures.runs[RSYNC]) / _median(figures.runs[OURS])
    return [
        Verdict(
            f"from node to node at no less than {LEAST_SPEED} of rsync's speed over SSH",
            f"{ratio:.2f}",
            ratio >= LEAST_SPEED,
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
        _METHOD,
    )


def _title(figures: Figures) -> str:
    rounds = len(figures.runs[OURS])
    counted = "1 round" if rounds == 1 else f"{rounds} rounds"
    return f"One file of {format_size(figures.size)} from node to node, {counted}"
