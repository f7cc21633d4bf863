"""`python -m bench.upload`: one large file through nginx to disk, ours beside peers, in one run.

Everyone gets the same client, the same nginx in front, the same disk and the same file; rounds are
interleaved, medians are reported. Ends with the terminal's table, `build/bench/upload.json` and the
section `upload` of `bench/RESULTS.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from bench import machine, report, upload_report
from bench.command import Directory, Record, Rounds, Size, begin, failures_told
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
_FAILURES = (UploadFailed, WrongContent, ServerFailed, PeerMissing, OSError, ValueError)


def main(
    size: Size = "2GiB",
    rounds: Rounds = 3,
    only: Annotated[str, typer.Option(help="Names with commas between; empty: everyone.")] = "",
    directory: Directory = None,
    record: Record = True,
) -> None:
    """Upload one file to each server in turn and compare."""
    console = begin()
    with failures_told(console, _FAILURES):
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
