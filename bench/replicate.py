"""`python -m bench.replicate`: one file from node to node, beside rsync and rclone over SSH.

Two real nodes with nginx and TLS, and a private sshd, all on loopback and one disk. Ends with the
terminal's table, `build/bench/replicate.json` and the section `replicate` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer

from bench import node_pair, replicate_report, source, ssh_target
from bench.command import Bench, Directory, Record, Rounds, Size
from bench.http_client import UploadFailed
from bench.measurement import WrongContent
from bench.node_pair import NodePair
from bench.packages import PeerMissing
from bench.places import NODE
from bench.processes import ServerFailed
from bench.replicate_report import OURS, RCLONE, RSYNC, RSYNC_SYNCED, Figures, Run
from bench.source import Source, sha256_of
from bench.ssh_target import SshTarget
from portside import sizing
from portside.quantities import parse_size

_PROGRAMS = ("sshd", "rsync", "rclone", "ssh-keygen")


_BENCH = Bench(
    "replicate",
    replicate_report.show,
    replicate_report.markdown,
    (UploadFailed, WrongContent, ServerFailed, PeerMissing, OSError, ValueError),
)


def main(
    size: Size = "2GiB", rounds: Rounds = 3, directory: Directory = None, record: Record = True
) -> None:
    """Copy a file from node to node, and the same with others' tools."""
    _BENCH.run(
        lambda place, tell: _measured(place, parse_size(size), rounds, tell), directory, record
    )


def _measured(place: Path, size: int, rounds: int, tell: Callable[[str], None]) -> Figures:
    if missing := node_pair.missing_programs(_PROGRAMS):
        raise PeerMissing(f"{', '.join(missing)} is not installed")
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
