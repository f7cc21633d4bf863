"""The upload bench's figures in rows: for the terminal and for RESULTS.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console

from bench.disk import DiskRun
from bench.machine import Machine
from bench.measurement import GIGABYTE, Summary, summarise
from bench.promises import verdicts
from bench.report import markdown_table, print_table, print_verdicts, section
from bench.rounds import Figures, Plan
from portside.quantities import format_size

_HEADS = (
    "server",
    "seconds",
    "best",
    "x DAV",
    "x ours",
    "CPU s/GB",
    "of it nginx",
    "client CPU",
    "peak RSS",
    "wait at 100 %",
    "what it does beside storing",
)
_NONE = "-"
_OURS = "ours"

_METHOD = """\
Plain HTTP on loopback (TLS is off for everyone): one client (sendfile) -> nginx -> server -> the
same filesystem. nginx DAV is nginx alone. Rounds are interleaved, after a warm-up round in which
what was stored is compared with what was sent by SHA-256; figures are medians, the ratio is the
median of each round's ratio. CPU counts nginx and the server behind it, not the kernel's
writeback threads. RSS is that of the largest process behind nginx (ours: the gunicorn worker),
the highest of all rounds. The wait is from the return of the client's last send to the status
line. Ours-tus is one PATCH; its POST comes before and is not timed, as for tus-node. The agent is
sized for a node with 4 GiB and 2 cores. The disk's own rows write the same
bytes without any network. Two disk rows because they differ: where free memory goes back to a
hypervisor, every new page of the page cache costs a fault on the host, which slows down whoever
writes through the cache (nginx DAV, tus, SeaweedFS; not Portside, which writes past it). Where
memory is warm, nginx DAV is faster than here and the ratio higher."""


def summaries(figures: Figures, measure: str, size: int) -> dict[str, Summary]:
    """Each contender's medians; ratios only where the measure ran too."""
    return {
        name: summarise(runs, figures.runs.get(measure), figures.runs.get(_OURS), size)
        for name, runs in figures.runs.items()
    }


def rows(plan: Plan, figures: Figures, results: Mapping[str, Summary]) -> list[list[str]]:
    """One row per contender, then the disk's."""
    promises = {each.name: each.promises for each in plan.contenders}
    found = [_row(name, result, promises[name]) for name, result in results.items()]
    found.append(_disk_row("disk, cached", "write, fdatasync", figures.disk_cached, plan.size))
    found.append(
        _disk_row("disk, direct", "O_DIRECT write, fdatasync", figures.disk_direct, plan.size)
    )
    return found


def _row(name: str, result: Summary, promises: str) -> list[str]:
    return [
        name,
        f"{result.seconds:.2f}",
        f"{result.best:.2f}",
        _ratio(result.ratio),
        _ratio(result.ratio_to_ours),
        f"{result.server_cpu_per_gb:.2f}",
        f"{result.nginx_cpu_per_gb:.2f}",
        f"{result.client_cpu_per_gb:.2f}",
        f"{result.peak_memory / 1e6:.0f} MB",
        f"{result.wait * 1000:.0f} ms",
        promises,
    ]


def _ratio(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio:.2f}"


def _disk_row(name: str, durable: str, runs: Sequence[DiskRun], size: int) -> list[str]:
    seconds = [run.seconds for run in runs]
    cpu = median(run.cpu for run in runs) / (size / GIGABYTE)
    figures = [f"{median(seconds):.2f}", f"{min(seconds):.2f}", _NONE, _NONE, f"{cpu:.2f}"]
    return [name, *figures, *[_NONE] * 4, durable]


def show(console: Console, plan: Plan, figures: Figures, results: Mapping[str, Summary]) -> None:
    """Table and verdicts on the terminal; what each server does stands below, to save width."""
    found = rows(plan, figures, results)
    print_table(console, _title(plan), _HEADS[:-1], [row[:-1] for row in found])
    for name, *_, does in found:
        console.print(f"{name}: {does}", highlight=False)
    print_verdicts(console, verdicts(results))


def markdown(
    plan: Plan,
    machine: Machine,
    versions: Mapping[str, str],
    figures: Figures,
    results: Mapping[str, Summary],
) -> str:
    """The body of the section in RESULTS.md."""
    return section(
        _title(plan),
        [*machine.lines(), *_versions(versions)],
        [markdown_table(_HEADS, rows(plan, figures, results))],
        verdicts(results),
        _METHOD,
    )


def _versions(versions: Mapping[str, str]) -> list[str]:
    # Two of the rows are the same program.
    return list(dict.fromkeys(versions.values()))


def _title(plan: Plan) -> str:
    counted = "1 round" if plan.rounds == 1 else f"{plan.rounds} rounds"
    return f"One file of {format_size(plan.size)} through nginx to disk, {counted}"
