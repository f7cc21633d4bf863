"""`python -m bench.replicate`: one file from node to node, beside rsync and rclone over SSH.

Two real nodes with nginx and TLS, and a private sshd, all on loopback and one disk. Ends with the
terminal's table, `build/bench/replicate.json` and the section `replicate` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import machine, node_pair, replicate_report, report, source, ssh_target
from bench.http_client import UploadFailed
from bench.measurement import WrongContent
from bench.node_pair import NodePair
from bench.places import BUILD, NODE, RESULTS
from bench.processes import ServerFailed
from bench.replicate_report import OURS, RCLONE, RSYNC, RSYNC_SYNCED, Figures, Run
from bench.source import Source, sha256_of
from bench.ssh_target import SshTarget
from portside import sizing
from portside.quantities import parse_size

_PROGRAMS = ("sshd", "rsync", "rclone", "ssh-keygen")


def main(
    size: Annotated[str, typer.Option(help="The file's size.")] = "2GiB",
    rounds: Annotated[int, typer.Option(min=1, help="Counted rounds, after a warm-up.")] = 3,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="A folder on the disk to measure.")
    ] = None,
    record: Annotated[bool, typer.Option(help="Write the section of bench/RESULTS.md.")] = True,
) -> None:
    """Copy a file from node to node, and the same with others' tools."""
    # An end from outside must end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console() if sys.stdout.isatty() else Console(width=120)
    if missing := node_pair.missing_programs(_PROGRAMS):
        console.print(f"bench: {', '.join(missing)} is not installed", style="red")
        raise typer.Exit(1)
    BUILD.mkdir(parents=True, exist_ok=True)
    place = directory or BUILD
    described = machine.describe(place)
    try:
        with console.status("preparing") as status:
            figures = _measured(place, parse_size(size), rounds, status.update)
    except (UploadFailed, WrongContent, ServerFailed, OSError, ValueError) as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
    replicate_report.show(console, figures)
    report.write_figures(BUILD / "replicate.json", described, figures)
    if record:
        report.write_section(RESULTS, "replicate", replicate_report.markdown(described, figures))


def _measured(place: Path, size: int, rounds: int, tell: Callable[[str], None]) -> Figures:
    runs: dict[str, list[Run]] = {}
    with _everyone(place, size) as (file, contenders):
        for number in range(rounds + 1):
            for name, copy in contenders.items():
                file.warm()
                os.sync()
                run = copy(number == 0)
                tell(f"{f'round {number}' if number else 'warm-up'}: {name} {run.seconds:.2f} s")
                if number:
                    runs.setdefault(name, []).append(run)
    return Figures(size, runs)


@contextmanager
def _everyone(
    place: Path, size: int
) -> Iterator[tuple[Source, Mapping[str, Callable[[bool], Run]]]]:
    """Every server started; how each contender copies the file once, checking it if told to."""
    with ExitStack() as stack:
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place))
        )
        # A Unix socket's path is short.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="portside-bench-")))
        file = source.make(scratch / "source", size)
        for name in ("nodes", "ssh"):
            (scratch / name).mkdir()
        ssh = stack.enter_context(ssh_target.serving(scratch / "ssh"))
        nodes = stack.enter_context(
            node_pair.serving(scratch / "nodes", sockets, sizing.size(NODE))
        )
        yield (
            file,
            {
                OURS: lambda check: _ours(nodes, file, check),
                RSYNC: lambda check: _theirs(ssh, file, ssh.rsync(file.path), check),
                RSYNC_SYNCED: lambda check: _theirs(
                    ssh, file, ssh.rsync(file.path, "--fsync"), check
                ),
                RCLONE: lambda check: _theirs(ssh, file, ssh.rclone(file.path), check),
            },
        )


def _ours(nodes: NodePair, file: Source, check: bool) -> Run:
    copied = nodes.copy(file)
    if check:
        _compare(file, nodes.path_of(copied.stored))
    nodes.remove(copied.stored)
    return Run(copied.push, copied.since_commit)


def _theirs(ssh: SshTarget, file: Source, command: list[str], check: bool) -> Run:
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    if done.returncode:
        raise UploadFailed(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
    target = ssh.folder / file.path.name
    if check:
        _compare(file, target)
    target.unlink()
    return Run(seconds)


def _compare(file: Source, target: Path) -> None:
    if (found := sha256_of(target)) != file.sha256:
        raise WrongContent(f"sent {file.sha256}, stored {found}")


if __name__ == "__main__":
    typer.run(main)
