"""`python -m bench.control`: a control plane with many nodes and files, on both databases.

1,000 nodes send heartbeats while apps ask for sessions at rates that rise. Ends with the terminal's
tables, `build/bench/control.json` and the section `control` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated

import structlog
import typer

from bench import control_catalogue, control_report, nginx
from bench.command import Bench, Directory, Record, Tell
from bench.control_load import Answered, Asking, Reporting, ask_for_sessions
from bench.control_load import report as send_heartbeats
from bench.control_report import Figures, Run, Step
from bench.places import NODE
from bench.processes import ServerFailed, cpu_seconds, family_of, free_port, running
from control.cluster import api_keys, rosters
from control.db.database import Database
from control.db.migrations import migrate
from control.db.models import ClusterState
from control.settings import CONFIG_VARIABLE
from portside import sizing
from portside.cluster.roster import next_version
from tests.support.control.cluster import FakeNodes, settings
from tests.support.control.postgresql import PostgresqlServer

DATABASES = ("sqlite", "postgresql")

_RATES: tuple[float | None, ...] = (50, 100, 200, 300, None)
_EVERY = 15.0
_THREADS = 16
"""Of each gunicorn process, as the deploy has it (deploys.components.control)."""
_CLIENTS, _CONNECTIONS = 2, 16
_BEATING = 8
_LEAD = 1.0
"""Seconds for clients to be ready before the first planned moment."""

_CONTROL = (sys.executable, "-c", "from control.cli import main; main()")
"""`portside-control` of this very tree."""

_NODE_ANSWERS = """\
        location / { return 204; }
"""


class ControlFailed(Exception):
    """The control plane did something that it should not."""


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
            every=_EVERY,
            connections=_CONNECTIONS,
            clients=_CLIENTS,
            beating=_BEATING,
            threads=_THREADS,
            rounds=rounds,
            runs=runs,
        )

    _BENCH.run(measure, directory, record)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a run's processes find what they need."""

    home: Path
    url: str
    fill: Callable[[int, Sequence[str]], None]
    server: int | None
    """PostgreSQL's first process."""
    processes: int
    """Of gunicorn."""


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
        where = stack.enter_context(_database(name, home))
        _, outside = stack.enter_context(nginx.front(home, sizing.size(NODE), _NODE_ANSWERS))
        tell(f"filling it with {files} files")
        began = time.monotonic()
        fakes = FakeNodes([f"s{number:04}" for number in range(nodes)])
        key = _prepare(where, fakes, outside)
        where.fill(files, list(fakes.keys))
        # What was filled in must not be written back while sessions wait for the disk.
        os.sync()
        fill = time.monotonic() - began
        load = os.getloadavg()[0]
        with _control_plane(where) as (port, watched):
            steps = _steps(where, fakes, key, port, watched, _RATES * rounds, seconds, tell)
        tell("counting counters again")
        _control(where.home, "check", "--counters")
    return Run(fill, load, steps)


@contextmanager
def _database(name: str, home: Path) -> Iterator[_Place]:
    if name == "sqlite":
        path = home / "control.sqlite"

        def fill(files: int, nodes: Sequence[str]) -> None:
            control_catalogue.fill_sqlite(path, files, nodes)

        yield _Place(home, f"sqlite:///{path}", fill, None, 1)
        return
    server = PostgresqlServer(durable=True)
    try:
        server.start()
        server.execute("CREATE DATABASE portside")
        url = server.dsn("portside")
        yield _Place(
            home,
            url,
            lambda files, nodes: control_catalogue.fill_postgresql(url, files, nodes),
            server.pid,
            2,
        )
    finally:
        server.remove()


def _prepare(where: _Place, fakes: FakeNodes, outside: int) -> str:
    """The schema, all nodes and an app; returns the app's key."""
    url = f"http://127.0.0.1:{outside}"
    now = datetime.now(UTC)
    roster = fakes.roster(
        next_version(0, now),
        {name: {"public_base_url": url, "upload_api_url": f"{url}/{name}"} for name in fakes.keys},
    )
    settings(where.home, where.url, connections=_THREADS, heartbeat_every=_EVERY)
    (where.home / "roster.json").write_text(roster.model_dump_json(exclude_none=True))
    database = Database(where.url)
    migrate(database)
    database.write(lambda session: rosters.take_over(session, roster, now))
    key = database.write(lambda session: api_keys.create(session, "bench", ("upload",), now))
    database.close()
    return key


@contextmanager
def _control_plane(where: _Place) -> Iterator[tuple[int, Mapping[str, int]]]:
    """gunicorn and the worker; yields the port, and each kind's first process."""
    environment = {CONFIG_VARIABLE: str(where.home / "control.toml"), "MALLOC_ARENA_MAX": "2"}
    port = free_port()
    web = [
        *(sys.executable, "-m", "gunicorn", "control.wsgi:application"),
        *("--worker-class", "gthread", "--workers", str(where.processes)),
        *("--threads", str(_THREADS), "--worker-connections", str(4 * _THREADS)),
        *("--keep-alive", "65", "--worker-tmp-dir", "/dev/shm"),  # noqa: S108 (as the deploy has it)
        *("--bind", f"127.0.0.1:{port}", "--no-control-socket"),
    ]
    # As its unit has it: whoever waits for an answer comes first.
    work = ["nice", "-n", "5", *_CONTROL, "worker"]
    with (
        running("gunicorn", web, where.home, environment) as gunicorn,
        running("worker", work, where.home, environment) as worker,
    ):
        gunicorn.wait_until(lambda: _is_live(port))
        worker.wait_until(lambda: _rounds_began(where))
        watched = {"web": gunicorn.pid, "worker": worker.pid}
        if where.server is not None:
            watched["database"] = where.server
        yield port, watched


def _rounds_began(where: _Place) -> bool:
    database = Database(where.url)
    state = database.read(lambda session: session.get(ClusterState, 1))
    database.close()
    return state is not None and state.rounds_at is not None


def _is_live(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/health/live")
        return connection.getresponse().status == 204
    except OSError:
        return False
    finally:
        connection.close()


def _steps(
    where: _Place,
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
        every=_EVERY,
        roster_version=_roster_version(where),
        connections=_BEATING,
    )
    beating = context.Process(target=send_heartbeats, args=(reporting, stop, theirs))
    beating.start()
    with ProcessPoolExecutor(_CLIENTS, context) as clients:
        try:
            tell("every node's first heartbeat")
            time.sleep(max(0.0, reporting.began + _EVERY + 1 - time.monotonic()))
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


def _roster_version(where: _Place) -> int:
    """The version that nodes have which are up to date."""
    database = Database(where.url)
    version = database.read(lambda session: rosters.cluster_state(session).roster_version)
    database.close()
    return version


def _control(home: Path, *arguments: str) -> None:
    """`portside-control` to its end, which must be good. Raises ControlFailed."""
    done = subprocess.run(
        [*_CONTROL, *arguments],
        env={**os.environ, CONFIG_VARIABLE: str(home / "control.toml")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ControlFailed(f"portside-control {' '.join(arguments)}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    typer.run(main)
