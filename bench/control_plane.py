"""The control plane's own processes under measurement: database, gunicorn and worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

from bench import control_catalogue
from bench.processes import reserved_port, running
from control.cluster import api_keys, rosters
from control.cluster.api_keys import Scope
from control.db.database import Database
from control.db.migrations import migrate
from control.db.models import ClusterState
from control.settings import CONFIG_VARIABLE
from portside.cluster.roster import next_version
from tests.support.control.cluster import FakeNodes, settings
from tests.support.control.postgresql import PostgresqlServer

DATABASES = ("sqlite", "postgresql")

THREADS = 16
"""Of each gunicorn process, as the deploy has it (deploys.components.control)."""
EVERY = 15.0
"""Seconds between two heartbeats of a node."""

_CONTROL = (sys.executable, "-c", "from control.cli import main; main()")
"""`portside-control` of this very tree."""

NODE_ANSWERS = """\
        location / { return 204; }
"""
"""nginx's, which answers for every node when it is asked from outside."""


class ControlFailed(Exception):
    """The control plane did something that it should not."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's processes find what they need."""

    home: Path
    url: str
    fill: Callable[[int, Sequence[str]], None]
    server: int | None
    """PostgreSQL's first process."""
    processes: int
    """Of gunicorn."""


@contextmanager
def database_of(name: str, home: Path) -> Iterator[Place]:
    """A database of its own kind, empty."""
    if name == "sqlite":
        path = home / "control.sqlite"

        def fill(files: int, nodes: Sequence[str]) -> None:
            control_catalogue.fill_sqlite(path, files, nodes)

        yield Place(home, f"sqlite:///{path}", fill, None, 1)
        return
    server = PostgresqlServer(durable=True)
    try:
        server.start()
        server.execute("CREATE DATABASE portside")
        url = server.dsn("portside")
        yield Place(
            home,
            url,
            lambda files, nodes: control_catalogue.fill_postgresql(url, files, nodes),
            server.pid,
            2,
        )
    finally:
        server.remove()


def prepare(
    where: Place, fakes: FakeNodes, outside: int, scopes: Sequence[Scope] = ("upload",)
) -> str:
    """The schema, all nodes and an app; returns the app's key."""
    url = f"http://127.0.0.1:{outside}"
    now = datetime.now(UTC)
    roster = fakes.roster(
        next_version(0, now),
        {name: {"public_base_url": url, "upload_api_url": f"{url}/{name}"} for name in fakes.keys},
    )
    settings(where.home, where.url, connections=THREADS, heartbeat_every=EVERY)
    (where.home / "roster.json").write_text(roster.model_dump_json(exclude_none=True))
    database = Database(where.url)
    migrate(database)
    database.write(lambda session: rosters.take_over(session, roster, now))
    key = database.write(lambda session: api_keys.create(session, "bench", scopes, now))
    database.close()
    return key


@contextmanager
def control_plane(where: Place) -> Iterator[tuple[int, Mapping[str, int]]]:
    """gunicorn and the worker; yields the port, and each kind's first process."""
    environment = {CONFIG_VARIABLE: str(where.home / "control.toml"), "MALLOC_ARENA_MAX": "2"}
    port = reserved_port()
    web = [
        *(sys.executable, "-m", "gunicorn", "control.wsgi:application"),
        *("--worker-class", "gthread", "--workers", str(where.processes)),
        *("--threads", str(THREADS), "--worker-connections", str(4 * THREADS)),
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


def _rounds_began(where: Place) -> bool:
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


def command(home: Path, *arguments: str) -> None:
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
