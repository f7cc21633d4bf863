"""`python -m bench.crowd`: many uploads at one moment on an agent sized for a node of 4 GiB.

Ends with the terminal's table, `build/bench/crowd.json` and the section `crowd` of
`bench/RESULTS.md`.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from bench import crowd_report
from bench.command import Bench, Directory, Record
from bench.contenders.portside import PortsideService, Way
from bench.crowd_report import Figures, Run
from bench.http_client import Exchange, Sending, UploadFailed, ask
from bench.measurement import WrongContent
from bench.own_node import own_node
from bench.processes import ServerFailed, cpu_seconds, family_of, peak_memory, reset_peak_memory
from bench.source import Source
from portside.quantities import parse_size
from portside.wire import paths

_T = TypeVar("_T")

_WAYS: tuple[Way, ...] = ("put", "tus")
_SHIFT = 4096
"""Each upload is this much further on in the source than the one before, so no two are equal."""

_ARRIVAL_SECONDS = 30.0


_BENCH = Bench(
    "crowd",
    crowd_report.show,
    crowd_report.markdown,
    (UploadFailed, WrongContent, ServerFailed, OSError, ValueError),
)


def main(
    uploads: Annotated[int, typer.Option(min=2, max=500, help="Uploads at once.")] = 100,
    size: Annotated[str, typer.Option(help="Each file's size.")] = "64MiB",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; there is no warm-up.")] = 3,
    directory: Directory = None,
    record: Record = True,
) -> None:
    """Open many uploads, finish them all, and see what fails and what memory it takes."""
    _BENCH.run(
        lambda place, tell: _measured(place, uploads, parse_size(size), rounds, tell),
        directory,
        record,
    )


def _measured(
    place: Path, uploads: int, size: int, rounds: int, tell: Callable[[str], None]
) -> Figures:
    runs = []
    with own_node(place, size + (uploads - 1) * _SHIFT) as (service, file):
        windows = _windows(file, uploads, size)
        for number in range(rounds):
            tell(f"round {number + 1}")
            runs.append(_crowd(service, file, windows))
            service.clear()
            os.sync()
    return Figures(uploads, size, service.node.sizing, runs)


@dataclass(frozen=True, slots=True)
class _Window:
    """The bytes of the source that are one upload's content."""

    start: int
    end: int
    sha256: str


def _windows(file: Source, count: int, size: int) -> list[_Window]:
    with (
        file.path.open("rb") as opened,
        mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        return [
            _Window(start, start + size, hashlib.sha256(view[start : start + size]).hexdigest())
            for start in range(0, count * _SHIFT, _SHIFT)
        ]


def _crowd(service: PortsideService, file: Source, windows: Sequence[_Window]) -> Run:
    """One round. Raises WrongContent; whatever else befalls an upload is counted as a failure."""
    file.warm()
    os.sync()
    # A worker listens before it has loaded the agent.
    _used_slots(service)
    servers = [*family_of(service.nginx), *family_of(service.agent.server.pid)]
    agent = family_of(service.agent.server.pid)
    reset_peak_memory(agent)
    at_rest, cpu = peak_memory(agent), cpu_seconds(servers)
    failures: list[str] = []
    with (
        file.path.open("rb") as opened,
        ExitStack() as connections,
        ThreadPoolExecutor(len(windows)) as clients,
    ):

        def begin(number: int) -> Sending:
            window = windows[number]
            request = service.request(_WAYS[number % 2], window.end - window.start)
            sending = connections.enter_context(
                Sending(service.port, request, opened.fileno(), window.start, window.end)
            )
            sending.send((window.start + window.end) // 2)
            return sending

        began = time.monotonic()
        halves = dict(_outcomes(clients, begin, range(len(windows)), failures))
        seconds = time.monotonic() - began
        open_at_once = _open_uploads(service, len(halves))
        began = time.monotonic()
        done = dict(_outcomes(clients, lambda number: halves[number].finish(), halves, failures))
        seconds += time.monotonic() - began
    run = Run(
        seconds=seconds,
        cpu=cpu_seconds(servers) - cpu,
        answers=[exchange.wait for exchange in done.values()],
        failures=failures,
        open_at_once=open_at_once,
        peak_memory=peak_memory(agent),
        memory_at_rest=at_rest,
    )
    _check_content(service, windows, done)
    return run


def _outcomes(
    clients: ThreadPoolExecutor,
    act: Callable[[int], _T],
    numbers: Iterable[int],
    failures: list[str],
) -> Iterator[tuple[int, _T]]:
    """`act` for every upload at the same time: what it returned, or its failure in the list."""
    running = [(number, clients.submit(act, number)) for number in numbers]
    for number, future in running:
        try:
            yield number, future.result()
        except (UploadFailed, OSError) as error:
            failures.append(str(error))


def _open_uploads(service: PortsideService, expected: int) -> int:
    """How many uploads the agent says are running, once all have reached it."""
    deadline = time.monotonic() + _ARRIVAL_SECONDS
    # What a client has sent may still be on its way: in the kernel, in nginx.
    while (used := _used_slots(service)) < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    return used


def _used_slots(service: PortsideService) -> int:
    used: int = json.loads(ask(service.port, "GET", paths.UPLOAD_STATUS).body)["slots"]["used"]
    return used


def _check_content(
    service: PortsideService, windows: Sequence[_Window], done: Mapping[int, Exchange]
) -> None:
    for number, exchange in done.items():
        stored = service.stored_sha256(exchange.answer)
        if stored != windows[number].sha256:
            raise WrongContent(f"sent {windows[number].sha256}, stored {stored}")


if __name__ == "__main__":
    typer.run(main)
