"""`python -m faults`: crash a node a thousand times, and tell what became of its promises.

Ends with tables on the terminal and the sections `node`, `full disks` and `peers` of
`faults/RESULTS.md`; exits with 1 when our node broke a promise.
"""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import machine
from bench.packages import PeerMissing
from bench.report import write_section
from faults import runs
from faults.causing.connection import NodeGone
from faults.causing.crashes import StartFailed
from faults.causing.filesystem import FilesystemFailed
from faults.causing.injections import InjectionFailed
from faults.checking import report

_PROJECT = Path(__file__).resolve().parent.parent
_BUILD = _PROJECT / "build" / "faults"
_PACKAGES = _PROJECT / "build" / "bench"
_RESULTS = _PROJECT / "faults" / "RESULTS.md"


def main(
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs under load.")] = 350,
    cuts: Annotated[int, typer.Option(min=0, help="Power cuts under load.")] = 250,
    injections: Annotated[int, typer.Option(min=0, help="Rounds of each disk error.")] = 10,
    full_disks: Annotated[
        int,
        typer.Option(min=0, help="Crashes on a disk without bytes, as many without inodes."),
    ] = 75,
    clock_steps: Annotated[
        int, typer.Option(min=0, help="Kills beside a clock that is set ahead or back.")
    ] = 100,
    ends: Annotated[
        int, typer.Option(min=0, help="Crashes while files end, come back, are held and released.")
    ] = 150,
    restores: Annotated[
        int, typer.Option(min=0, help="Control planes killed, and given an older database.")
    ] = 80,
    peers: Annotated[bool, typer.Option(help="Cut the peers' power too.")] = False,
    peer_cuts: Annotated[int, typer.Option(min=1, help="Power cuts of each peer.")] = 30,
    writers: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 6,
    seed: Annotated[str, typer.Option(help="Repeats the load of another run.")] = "",
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A folder with 1 GiB for the disk to crash.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Write faults/RESULTS.md.")] = True,
) -> None:
    """Crash a storage node under load, many times, and check what it had promised."""
    # An end from outside must end the servers and unmount the disk too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # In a log file the table needs its full width.
    console = Console() if sys.stdout.isatty() else Console(width=220)
    seed = seed or secrets.token_hex(4)
    place = directory or _BUILD
    place.mkdir(parents=True, exist_ok=True)
    console.print(f"seed {seed}", highlight=False)
    described = machine.describe(place)
    ours, full, others = [], [], []
    try:
        with runs.bench(place, seed, writers, lambda line: _tell(console, line)) as bench:
            if kills:
                ours.append(runs.kills(bench, kills))
            if cuts:
                ours.append(runs.cuts(bench, cuts))
            if injections:
                ours += runs.injections(bench, injections)
            if clock_steps:
                ours += runs.clock_steps(bench, clock_steps)
            if ends:
                ours += runs.ends(bench, ends)
            if restores:
                ours += runs.restores(bench, restores)
            if full_disks:
                full = runs.full_disks(bench, full_disks)
            if peers:
                others = runs.peers(bench, peer_cuts, _PACKAGES)
    except (NodeGone, StartFailed, FilesystemFailed, InjectionFailed, PeerMissing) as error:
        console.print(f"faults: {error}", style="red", markup=False)
        raise typer.Exit(1) from None

    if ours:
        report.show(console, f"Portside, seed {seed}", ours)
    if record and ours:
        write_section(_RESULTS, "node", report.markdown(ours, described, seed))
    if full:
        report.show(console, f"Full disks, seed {seed}", full)
        if record:
            write_section(_RESULTS, "full disks", report.markdown(full, described, seed))
    if others:
        beside = [row for row in ours if row.crash == "power cut"] + others
        report.show(console, f"Power cuts, beside peers, seed {seed}", beside)
        if record:
            text = report.markdown(beside, described, seed, with_peers=True)
            write_section(_RESULTS, "peers", text)
    console.print(report.verdict(ours + full), highlight=False)
    if not all(row.figures.holds for row in ours + full):
        raise typer.Exit(1)


def _tell(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
