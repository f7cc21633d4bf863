"""Interleaved rounds: A B C D, A B C D, ... so that a machine's moods meet everyone alike."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import disk, source
from bench.contenders import Contender, Ground, Service
from bench.disk import DiskRun
from bench.measurement import Run, measure
from bench.source import Source
from portside.sizing import Sizing


@dataclass(frozen=True, slots=True)
class Figures:
    """Every counted run, in the order of the rounds. `disk_*` is the disk without a server."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    disk_cached: list[DiskRun] = field(default_factory=list)
    disk_direct: list[DiskRun] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, where, how often. `rounds` doesn't count the warm-up round."""

    contenders: Sequence[Contender]
    size: int
    rounds: int
    place: Path
    packages: Path
    sizing: Sizing


def run(plan: Plan, tell: Callable[[str], None]) -> Figures:
    """Start everyone, measure round by round, end everyone.

    Raises UploadFailed, WrongContent, ServerFailed, PeerMissing. `tell` gets a line of progress.
    """
    figures = Figures()
    with ExitStack() as stack:
        scratch = stack.enter_context(_scratch(plan.place))
        sockets = stack.enter_context(_scratch(None))
        tell("making the file to upload")
        file = source.make(scratch / "source", plan.size)
        services: dict[str, Service] = {}
        for contender in plan.contenders:
            tell(f"starting {contender.name}")
            directory = scratch / contender.name
            directory.mkdir()
            ground = Ground(directory, sockets / contender.name, plan.packages, file, plan.sizing)
            services[contender.name] = stack.enter_context(contender.serving(ground))
        for number in range(plan.rounds + 1):
            called = f"round {number}" if number else "warm-up"
            _round(figures, services, file, scratch, called, tell)
    return figures


def _round(
    figures: Figures,
    services: dict[str, Service],
    file: Source,
    scratch: Path,
    called: str,
    tell: Callable[[str], None],
) -> None:
    """One upload each. The warm-up checks what was stored; the others are counted."""
    warm_up = called == "warm-up"
    for name, service in services.items():
        done = measure(service, file, check_content=warm_up)
        tell(f"{called}: {name} {done.seconds:.2f} s")
        if not warm_up:
            figures.runs.setdefault(name, []).append(done)
    cached = disk.write(file, scratch, direct=False)
    direct = disk.write(file, scratch, direct=True)
    tell(f"{called}: disk {cached.seconds:.2f} s, O_DIRECT {direct.seconds:.2f} s")
    if not warm_up:
        figures.disk_cached.append(cached)
        figures.disk_direct.append(direct)


@contextmanager
def _scratch(place: Path | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place) as name:
        yield Path(name)
