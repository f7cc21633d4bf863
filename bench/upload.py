"""`python -m bench.upload`: one large file through nginx to disk, ours beside peers, in one run.

Everyone gets the same client, the same nginx in front, the same disk and the same file; rounds are
interleaved, medians are reported. Ends with the terminal's table, `build/bench/upload.json` and the
section `upload` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import machine, report, upload_report
from bench.contenders import Contender
from bench.contenders.nginx_dav import NginxDav
from bench.contenders.portside import Portside
from bench.contenders.seaweedfs import SeaweedFS
from bench.contenders.tus import Tus
from bench.http_client import UploadFailed
from bench.measurement import WrongContent
from bench.packages import PeerMissing
from bench.places import BUILD, NODE, RESULTS
from bench.processes import ServerFailed
from bench.rounds import Plan, run
from portside import sizing
from portside.quantities import parse_size

_CONTENDERS: tuple[Contender, ...] = (
    NginxDav(),
    Portside(),
    Portside("form"),
    Portside("tus"),
    Tus(),
    SeaweedFS(),
)
_MEASURE = NginxDav.name


def main(
    size: Annotated[str, typer.Option(help="The file's size.")] = "2GiB",
    rounds: Annotated[int, typer.Option(min=1, help="Counted rounds, after a warm-up.")] = 3,
    only: Annotated[str, typer.Option(help="Names with commas between; empty: everyone.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A folder on the disk to measure.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Write the section of bench/RESULTS.md.")] = True,
) -> None:
    """Upload one file to each server in turn and compare."""
    # An end from outside must end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # In a log file the table needs its full width.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        plan = Plan(
            contenders=_chosen(only),
            size=parse_size(size),
            rounds=rounds,
            place=directory or BUILD,
            packages=BUILD,
            sizing=sizing.size(NODE),
        )
        described = machine.describe(plan.place)
        versions = {each.name: each.version(BUILD) for each in plan.contenders}
        with console.status("preparing") as status:
            figures = run(plan, lambda line: status.update(line))
    except (UploadFailed, WrongContent, ServerFailed, PeerMissing, OSError, ValueError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from None

    results = upload_report.summaries(figures, _MEASURE, plan.size)
    upload_report.show(console, plan, figures, results)
    report.write_json(
        BUILD / "upload.json",
        {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": asdict(described),
            "size": plan.size,
            "rounds": plan.rounds,
            "versions": versions,
            "results": {name: asdict(result) for name, result in results.items()},
            "runs": asdict(figures),
        },
    )
    if record:
        text = upload_report.markdown(plan, described, versions, figures, results)
        report.write_section(RESULTS, "upload", text)


def _chosen(only: str) -> Sequence[Contender]:
    known = {each.name: each for each in _CONTENDERS}
    names = [name.strip() for name in only.split(",") if name.strip()] or list(known)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no such contender: {', '.join(unknown)}; there are {', '.join(known)}")
    return [each for name, each in known.items() if name in names]


if __name__ == "__main__":
    typer.run(main)
