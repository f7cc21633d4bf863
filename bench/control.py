"""`python -m bench.control`: a control plane with many nodes and files, on both databases.

1,000 nodes send heartbeats while apps ask for sessions at rates that rise. Ends with the terminal's
tables, `build/bench/control.json` and the section `control` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import structlog
import typer

from bench import control_catalogue, control_report, nginx
from bench.command import Bench, Directory, Record, Tell
from bench.control_load import Answered, Asking, Reporting, ask_for_sessions
from bench.control_load import report as send_heartbeats
from bench.control_plane import (
    DATABASES,
    EVERY,
    NODE_ANSWERS,
    THREADS,
    ControlFailed,
    Place,
    command,
    control_plane,
    database_of,
    prepare,
)
from bench.control_report import Figures, Run, Step
from bench.places import NODE
from bench.processes import ServerFailed, cpu_seconds, family_of
from control.cluster import rosters
from control.db.database import Database
from portside import sizing
from tests.support.control.cluster import FakeNodes

_RATES: tuple[float | None, ...] = (50, 100, 200, 300, None)
_CLIENTS, _CONNECTIONS = 2, 16
_BEATING = 8
_LEAD = 1.0
"""Seconds for clients to be ready before the first planned moment."""


_BENCH = Bench(
    "control",
    control_report.show,
    control_report.markdown,
    (ControlFailed, ServerFailed, OSError, subprocess.CalledProcessError),
    width=160,
)


def main(
    nodes: Annotated[int, typer.Option(min=3, help="Nodes that send heartbeats.")] = 1000,
    files: Annotated[int, typer.Option(min=100, help="Files in the catalogue.")] = 1_000_000,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds at each rate.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="How often each rate comes.")] = 3,
    database: Annotated[list[str], typer.Option(help="sqlite, postgresql, or both.")] = list(  # noqa: B006 (typer copies it)
        DATABASES
    ),
    directory: Directory = None,
    record: Record = True,
) -> None:
    """Fill a catalogue, let nodes report and apps ask, and see how long sessions take."""
    # A thousand lines about nodes that join are no news here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def measure(place: Path, tell: Tell) -> Figures:
        runs = {}
        for name in database:

            def told(what: str, name: str = name) -> None:
                tell(f"{name}: {what}")

            runs[name] = _measured(place, name, nodes, files, rounds, seconds, told)
        return Figures(
            nodes=nodes,
            files=files,
            copies=control_catalogue.COPIES,
            every=EVERY,
            connections=_CONNECTIONS,
            clients=_CLIENTS,
            beating=_BEATING,
            threads=THREADS,
            rounds=rounds,
            runs=runs,
        )

    _BENCH.run(measure, directory, record)


def _measured(
    place: Path,
    name: str,
    nodes: int,
    files: int,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> Run:
    with ExitStack() as stack:
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place))
        )
        where = stack.enter_context(database_of(name, home))
        _, outside = stack.enter_context(nginx.front(home, sizing.size(NODE), NODE_ANSWERS))
        tell(f"filling it with {files} files")
        began = time.monotonic()
        fakes = FakeNodes([f"s{number:04}" for number in range(nodes)])
        key = prepare(where, fakes, outside)
        where.fill(files, list(fakes.keys))
        # What was filled in must not be written back while sessions wait for the disk.
        os.sync()
        fill = time.monotonic() - began
        load = os.getloadavg()[0]
        with control_plane(where) as (port, watched):
            steps = _steps(where, fakes, key, port, watched, _RATES * rounds, seconds, tell)
        tell("counting counters again")
        command(where.home, "check", "--counters")
    return Run(fill, load, steps)


def _steps(
    where: Place,
    fakes: FakeNodes,
    key: str,
    port: int,
    watched: Mapping[str, int],
    rates: Sequence[float | None],
    seconds: float,
    tell: Callable[[str], None],
) -> list[Step]:
    """One step at each rate while heartbeats come in, after a round of them and a warm-up."""
    # A process of its own kind: nothing of this one's threads and locks is in it.
    context = multiprocessing.get_context("spawn")
    stop, (ours, theirs) = context.Event(), context.Pipe()
    reporting = Reporting(
        port=port,
        keys={name: signing.to_json() for name, signing in fakes.keys.items()},
        began=time.monotonic() + 2 * _LEAD,
        every=EVERY,
        roster_version=_roster_version(where),
        connections=_BEATING,
    )
    beating = context.Process(target=send_heartbeats, args=(reporting, stop, theirs))
    beating.start()
    with ProcessPoolExecutor(_CLIENTS, context) as clients:
        try:
            tell("every node's first heartbeat")
            time.sleep(max(0.0, reporting.began + EVERY + 1 - time.monotonic()))
            tell("warming up")
            _ask(clients, port, key, 50, 3)
            taken = []
            for rate in rates:
                tell(f"{'as many' if rate is None else f'{rate:.0f}'} sessions a second")
                before = _cpu(watched, clients, beating.pid)
                sessions = _ask(clients, port, key, rate, seconds)
                after = _cpu(watched, clients, beating.pid)
                taken.append((rate, sessions, {kind: after[kind] - before[kind] for kind in after}))
        finally:
            stop.set()
        if not ours.poll(60):
            raise ControlFailed("the process that sends heartbeats doesn't end")
        heartbeats: list[Answered] = ours.recv()
        beating.join()
    return [_step(rate, sessions, heartbeats, cpu) for rate, sessions, cpu in taken]


def _ask(
    clients: ProcessPoolExecutor, port: int, key: str, rate: float | None, seconds: float
) -> list[Answered]:
    began = time.monotonic() + _LEAD
    running = [
        clients.submit(
            ask_for_sessions,
            Asking(port, key, began, seconds, rate, _CONNECTIONS // _CLIENTS, share, _CLIENTS),
        )
        for share in range(_CLIENTS)
    ]
    return [answered for each in running for answered in each.result()]


def _step(
    rate: float | None,
    sessions: Sequence[Answered],
    heartbeats: Sequence[Answered],
    cpu: Mapping[str, float],
) -> Step:
    first = min(planned for planned, _, _ in sessions)
    last = max(planned + seconds for planned, seconds, _ in sessions)
    meanwhile = [each for each in heartbeats if first <= each[0] < last]
    return Step(
        rate=rate,
        seconds=last - first,
        sessions=[seconds for _, seconds, wrong in sessions if not wrong],
        heartbeats=[seconds for _, seconds, wrong in meanwhile if not wrong],
        cores={kind: seconds / (last - first) for kind, seconds in cpu.items()},
        failures=[wrong for _, _, wrong in (*sessions, *meanwhile) if wrong],
    )


def _cpu(
    watched: Mapping[str, int], clients: ProcessPoolExecutor, beating: int | None
) -> dict[str, float]:
    """CPU seconds so far by kind of process. SQLite's are the web side's."""
    first = {"database": None, **watched}
    seconds = {
        kind: 0.0 if pid is None else cpu_seconds(family_of(pid)) for kind, pid in first.items()
    }
    asking = list(clients._processes)
    seconds["clients"] = cpu_seconds([*asking, *([beating] if beating else [])])
    return seconds


def _roster_version(where: Place) -> int:
    """The version that nodes have which are up to date."""
    database = Database(where.url)
    version = database.read(lambda session: rosters.cluster_state(session).roster_version)
    database.close()
    return version


if __name__ == "__main__":
    typer.run(main)
