"""`python -m bench.rebuild`: a catalogue that is lost, rebuilt from what the nodes have.

A control plane with an empty database is told of every file by its two nodes, page by page and with
real signatures, as their workers do it; sessions are asked for before and meanwhile. Ends with the
terminal's table, `build/bench/rebuild.json` and the section `rebuild` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import logging
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

from bench import control_catalogue, nginx
from bench.catalogue_report import percentile
from bench.command import Bench, Directory, Record, Tell
from bench.control_load import Answered, Asking, ask_for_sessions
from bench.control_plane import (
    DATABASES,
    EVERY,
    NODE_ANSWERS,
    ControlFailed,
    Place,
    command,
    control_plane,
    database_of,
    prepare,
)
from bench.machine import Machine
from bench.places import NODE
from bench.processes import ServerFailed, cpu_seconds, family_of, peak_memory
from bench.report import markdown_table, print_table, section
from portside import sizing
from portside.inventory import EMPTY, toggled
from portside.quantities import format_size
from portside.tokens import SigningKey
from portside.wire import paths
from portside.wire.base import Message
from portside.wire.heartbeat import HeartbeatAnswer
from portside.wire.inventory import (
    MOST_HELD,
    MOST_IDS,
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)
from tests.support.control.cluster import FakeNodes

NODES = ("s01", "s02")
_RATE = 50.0
"""Sessions a second, before and meanwhile."""
_SECONDS = 10.0
_CONNECTIONS = 8
_SIZE = 1 << 20
"""Bytes of each file."""

_HEADS = (
    *("database", "seconds", "files a second", "copies a second", "web's memory at most"),
    *(
        "its cores",
        "copies a second of a core",
        "sessions before: p99",
        "meanwhile: p99",
        "ratio",
        "worst",
        "failures",
    ),
)
_METHOD = """\
A control plane with an empty database and two nodes that have the same files. Each node's side is
a process that does what its worker would: it asks about each page of {page} ids by its digest, then
with its ids, and tells what is wanted, {held} files at a time, each message signed with the node's
key. Files a second are files, copies are those of both nodes; to the end of the slower one, which
finds most files known already. Meanwhile {rate:.0f} sessions a second are asked for on an open loop
from one process, as in `control`. All share this machine's cores."""


@dataclass(frozen=True, slots=True)
class Run:
    """One database. Seconds, bytes; sessions' seconds before the rebuilding and meanwhile."""

    seconds: float
    memory: int
    cores: float
    before: Sequence[float]
    meanwhile: Sequence[float]
    failures: Sequence[str]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured, by database."""

    files: int
    runs: Mapping[str, Run]


def rows(figures: Figures) -> list[list[str]]:
    """One row per database."""
    return [_row(name, figures.files, run) for name, run in figures.runs.items()]


def _row(name: str, files: int, run: Run) -> list[str]:
    before, meanwhile = (percentile(seconds, 0.99) for seconds in (run.before, run.meanwhile))
    return [
        name,
        f"{run.seconds:.0f}",
        f"{files / run.seconds:.0f}",
        f"{len(NODES) * files / run.seconds:.0f}",
        format_size(run.memory),
        f"{run.cores:.2f}",
        f"{len(NODES) * files / (run.seconds * run.cores):.0f}",
        f"{before * 1000:.1f} ms",
        f"{meanwhile * 1000:.1f} ms",
        f"{meanwhile / before:.1f}",
        f"{max(run.meanwhile) * 1000:.0f} ms",
        str(len(run.failures)),
    ]


def show(console: Console, figures: Figures) -> None:
    """On a terminal."""
    print_table(console, f"{figures.files} files told by two nodes", _HEADS, rows(figures))


def markdown(machine: Machine, figures: Figures) -> str:
    """The section of RESULTS.md."""
    what = f"A catalogue of {figures.files} files rebuilt from its nodes"
    method = _METHOD.format(page=MOST_IDS, held=MOST_HELD, rate=_RATE)
    table = markdown_table(_HEADS, rows(figures))
    return section(what, machine.lines(), [table], [], method)


_BENCH = Bench(
    "rebuild",
    show,
    markdown,
    (ControlFailed, ServerFailed, OSError, subprocess.CalledProcessError),
    width=160,
)


def main(
    files: Annotated[int, typer.Option(min=1000, help="Files of each node.")] = 1_000_000,
    database: Annotated[list[str], typer.Option(help="sqlite, postgresql, or both.")] = list(  # noqa: B006 (typer copies it)
        DATABASES
    ),
    directory: Directory = None,
    record: Record = True,
) -> None:
    """Have two nodes tell an empty control plane of their files, while apps ask for sessions."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def measure(place: Path, tell: Tell) -> Figures:
        return Figures(files, {name: _measured(place, name, files, tell) for name in database})

    _BENCH.run(measure, directory, record)


def _measured(place: Path, name: str, files: int, tell: Callable[[str], None]) -> Run:
    with ExitStack() as stack:
        home = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place))
        )
        where = stack.enter_context(database_of(name, home))
        _, outside = stack.enter_context(nginx.front(home, sizing.size(NODE), NODE_ANSWERS))
        fakes = FakeNodes(NODES)
        key = prepare(where, fakes, outside)
        with control_plane(where) as (port, watched):
            run = _rebuilt(fakes, key, port, watched["web"], files, f"{name}: ", tell)
        tell(f"{name}: counting counters again")
        command(where.home, "check", "--counters")
        _all_are_known(where, files)
    return run


def _rebuilt(
    fakes: FakeNodes,
    key: str,
    port: int,
    web: int,
    files: int,
    name: str,
    tell: Callable[[str], None],
) -> Run:
    context = multiprocessing.get_context("spawn")
    # Apps have a process of their own that is warm: what a new one imports would count as waiting.
    with (
        ProcessPoolExecutor(1, context) as apps,
        ProcessPoolExecutor(len(NODES), context) as nodes,
    ):
        for node_id in NODES:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            _beat(connection, fakes, node_id, files, "")
            connection.close()
        tell(f"{name}sessions before")
        _ask(apps, port, key, 3)
        before = _ask(apps, port, key, _SECONDS)
        tell(f"{name}rebuilding")
        began, cpu = time.monotonic(), cpu_seconds(family_of(web))
        telling = [
            nodes.submit(tell_all, port, node_id, fakes.keys[node_id].to_json(), files)
            for node_id in NODES
        ]
        meanwhile: list[Answered] = []
        while not all(each.done() for each in telling):
            meanwhile += _ask(apps, port, key, _SECONDS)
        ended = max(each.result() for each in telling)
        cores = (cpu_seconds(family_of(web)) - cpu) / (time.monotonic() - began)
        memory = sum(peak_memory([pid]) for pid in family_of(web))
    # Those that were planned behind the end say how it was without.
    meanwhile = [each for each in meanwhile if each[0] < ended]
    return Run(
        seconds=ended - began,
        memory=memory,
        cores=cores,
        before=[seconds for _, seconds, wrong in before if not wrong],
        meanwhile=[seconds for _, seconds, wrong in meanwhile if not wrong],
        failures=[wrong for _, _, wrong in (*before, *meanwhile) if wrong],
    )


def _ask(apps: ProcessPoolExecutor, port: int, key: str, seconds: float) -> list[Answered]:
    began = time.monotonic() + 0.5
    asking = Asking(port, key, began, seconds, _RATE, _CONNECTIONS, 0, 1)
    running: Future[list[Answered]] = apps.submit(ask_for_sessions, asking)
    return running.result()


def _beat(
    connection: HTTPConnection, nodes: FakeNodes, node_id: str, files: int, ticket: str
) -> str:
    """A heartbeat, sent again with the right ticket if that was another; the next one's ticket."""
    while True:
        beat = nodes.heartbeat(
            node_id,
            datetime.now(UTC),
            ticket=ticket,
            disk_free=1 << 50,
            disk_total=1 << 51,
            files=files,
            stored_bytes=files * _SIZE,
        )
        token, body = nodes.signed(beat)
        said = _posted(connection, f"{paths.NODES}/{node_id}/heartbeat", token, body)
        answer = HeartbeatAnswer.model_validate_json(said)
        ticket = answer.ticket or ""
        if answer.taken:
            return ticket


def tell_all(port: int, node_id: str, key: str, files: int) -> float:
    """One node's side of the comparison, in a process of its own; when it ended (monotonic)."""
    nodes = FakeNodes(())
    nodes.keys = {node_id: SigningKey.from_json(key)}
    connection = HTTPConnection("127.0.0.1", port, timeout=600)
    below = f"{paths.NODES}/{node_id}/inventory"

    def told(path: str, message: Message) -> bytes:
        token, body = nodes.message(node_id, message, datetime.now(UTC))
        return _posted(connection, path, token, body)

    ticket, beaten = _beat(connection, nodes, node_id, files, ""), time.monotonic()
    for page in _pages(node_id, files):
        if time.monotonic() - beaten > EVERY:
            ticket, beaten = _beat(connection, nodes, node_id, files, ticket), time.monotonic()
        short = page.model_copy(update={"file_ids": None})
        if InventoryAnswer.model_validate_json(told(below, short)).same:
            continue
        answer = InventoryAnswer.model_validate_json(told(below, page))
        for start in range(0, len(answer.wanted), MOST_HELD):
            held = HeldFiles(
                node_id=node_id,
                ticket=ticket,
                files=tuple(map(_held, answer.wanted[start : start + MOST_HELD])),
            )
            taken = HeldFilesAnswer.model_validate_json(told(f"{below}/files", held))
            if taken.outdated or taken.not_taken:
                raise ControlFailed(f"{node_id}: {taken}"[:1000])
    connection.close()
    return time.monotonic()


def _pages(node_id: str, files: int) -> Iterator[InventoryPage]:
    after: str | None = None
    for start in range(0, files, MOST_IDS):
        count = min(MOST_IDS, files - start)
        ids = tuple(control_catalogue.file_id(start + each, files) for each in range(count))
        last = None if start + count == files else ids[-1]
        yield InventoryPage(
            node_id=node_id, after=after, last=last, digest=toggled(EMPTY, ids), file_ids=ids
        )
        after = last


def _held(file_id: str) -> HeldFile:
    number = int(file_id[:8], 16)
    return HeldFile.model_validate(
        {
            "file_id": file_id,
            "jti": file_id[::-1],
            "namespace": "files",
            "owner": f"user-{number % 10_000}",
            "app": "bench",
            "name": f"file-{number}.iso",
            "path": f"files/2026/01/02/03/file-{number}_{file_id}.iso",
            "size": _SIZE,
            "sha256": file_id * 2,
            "content_type": "application/x-iso9660-image",
            "committed_at": datetime.fromtimestamp(1_767_000_000 + number % 10_000_000, UTC),
        }
    )


def _posted(connection: HTTPConnection, path: str, token: str, body: bytes) -> bytes:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    if answer.status != 200:
        raise ControlFailed(f"{path}: {answer.status} {said[:300]!r}")
    return said


def _all_are_known(where: Place, files: int) -> None:
    """Raise ControlFailed unless each file has as many copies as there are nodes."""
    known = control_catalogue.files_with_copies(where.url, len(NODES))
    if known != files:
        raise ControlFailed(f"{known} of {files} files are known with {len(NODES)} copies")


if __name__ == "__main__":
    typer.run(main)
