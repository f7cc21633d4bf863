"""`python -m bench.resume`: an upload that is cut at 90 % and goes on after the agent's restart.

Beside it the same file uninterrupted, and in parts over several connections. Ends with the
terminal's table, `build/bench/resume.json` and the section `resume` of `bench/RESULTS.md`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import typer

from bench import resume_report, tus_client
from bench.command import Bench, Directory, Record, Rounds, Size
from bench.contenders.portside import PortsideService
from bench.http_client import Answer, Exchange, Request, Sending, UploadFailed
from bench.measurement import WrongContent
from bench.own_node import own_node
from bench.processes import ServerFailed, family_of, peak_memory, reset_peak_memory
from bench.resume_report import KILLED, PARALLEL, RESTARTED, WHOLE, Figures, Run
from bench.source import Source
from bench.tus_client import Place
from portside.client.upload.parallel import part_size_for, ranges
from portside.quantities import parse_size
from portside.wire import paths

_CUT = 0.9
"""Share of the file that is sent before the cut."""

_CONNECTIONS = 4


_BENCH = Bench(
    "resume",
    resume_report.show,
    resume_report.markdown,
    (UploadFailed, WrongContent, ServerFailed, OSError, ValueError),
)


def main(
    size: Size = "2GiB", rounds: Rounds = 3, directory: Directory = None, record: Record = True
) -> None:
    """Cut uploads, restart the agent, go on, and measure what that costs at the end."""
    _BENCH.run(
        lambda place, tell: _measured(place, parse_size(size), rounds, tell), directory, record
    )


def _measured(place: Path, size: int, rounds: int, tell: Callable[[str], None]) -> Figures:
    parts = ranges(size, part_size_for(size, _CONNECTIONS))
    runs: dict[str, list[Run]] = {kind: [] for kind in _KINDS}
    with own_node(place, size) as (service, file):
        for number in range(rounds + 1):
            for kind, act in _KINDS.items():
                run = _checked(service, file, act)
                tell(f"{f'round {number}' if number else 'warm-up'}: {kind} {run.seconds:.2f} s")
                if number:
                    runs[kind].append(run)
    return Figures(size, _CONNECTIONS, len(parts), runs)


class _Upload:
    """One upload of the file, under measurement."""

    def __init__(self, service: PortsideService, file: BinaryIO) -> None:
        self.service = service
        self.size = service.size
        self.file = file.fileno()

    def send(self, request: Request, start: int, end: int) -> Exchange:
        """One request with some of the file's bytes. Raises UploadFailed."""
        with Sending(self.service.port, request, self.file, start, end) as sending:
            return sending.finish()

    def begin(self) -> tuple[Place, float]:
        """A resumable upload of the whole file, and the seconds that took."""
        began = time.monotonic()
        place = self.service.begin(self.size)
        return place, time.monotonic() - began

    def peak_memory(self) -> int:
        """Of the agent's worker since it started, or since the upload began."""
        return peak_memory(family_of(self.service.agent.server.pid))


def _checked(
    service: PortsideService, file: Source, act: Callable[[_Upload], tuple[Run, Answer]]
) -> Run:
    """Upload once, compare what is stored, clean up, let the disk come to rest."""
    file.warm()
    os.sync()
    reset_peak_memory(family_of(service.agent.server.pid))
    with file.path.open("rb") as opened:
        run, answer = act(_Upload(service, opened))
    if (stored := service.stored_sha256(answer)) != file.sha256:
        raise WrongContent(f"sent {file.sha256}, stored {stored}")
    service.clear()
    os.sync()
    return run


def _whole(upload: _Upload) -> tuple[Run, Answer]:
    place, beginning = upload.begin()
    done = upload.send(place.append(0), 0, upload.size)
    return Run(beginning + done.seconds, done.wait, upload.peak_memory()), done.answer


def _killed(upload: _Upload) -> tuple[Run, Answer]:
    """The agent crashes while the client is sending."""
    place, beginning = upload.begin()
    cut = int(upload.size * _CUT)
    began = time.monotonic()
    with Sending(upload.service.port, place.append(0), upload.file, 0, upload.size) as sending:
        sending.send(cut)
        sent = time.monotonic() - began
        upload.service.agent.server.kill()
    return _resumed(upload, place, cut, beginning + sent)


def _restarted(upload: _Upload) -> tuple[Run, Answer]:
    """The client's connection breaks, and the agent is restarted before it comes back."""
    place, beginning = upload.begin()
    cut = int(upload.size * _CUT)
    began = time.monotonic()
    with Sending(upload.service.port, place.append(0), upload.file, 0, upload.size) as sending:
        sending.send(cut)
        sent = time.monotonic() - began
    upload.service.agent.server.end()
    return _resumed(upload, place, cut, beginning + sent)


def _resumed(upload: _Upload, place: Place, cut: int, before: float) -> tuple[Run, Answer]:
    """Start the agent again, ask for the offset until it is told, send the rest."""
    offsets: list[int] = []

    def told() -> bool:
        try:
            offsets.append(place.offset())
        except UploadFailed:
            # nginx's 503, as long as nobody listens behind it.
            return False
        return True

    ready = upload.service.agent.restart(told)
    offset = offsets[0]
    done = upload.send(place.append(offset), offset, upload.size)
    return (
        Run(before + done.seconds, done.wait, upload.peak_memory(), ready, cut - offset),
        done.answer,
    )


def _parallel(upload: _Upload) -> tuple[Run, Answer]:
    """Parts in the order of the file, each on a connection of its own, then joined."""
    service = upload.service
    headers = service.authorization(upload.size)
    began = time.monotonic()
    spans = ranges(upload.size, part_size_for(upload.size, _CONNECTIONS))
    parts = [
        tus_client.create(service.port, paths.RESUMABLE_UPLOADS, end - start, headers, part=True)
        for start, end in spans
    ]
    with ThreadPoolExecutor(_CONNECTIONS) as connections:
        sent = [
            connections.submit(upload.send, part.append(0), start, end)
            for part, (start, end) in zip(parts, spans, strict=True)
        ]
        for each in sent:
            each.result()
    done = upload.send(tus_client.join(paths.RESUMABLE_UPLOADS, parts), 0, 0)
    return Run(time.monotonic() - began, done.wait, upload.peak_memory()), done.answer


_KINDS: Mapping[str, Callable[[_Upload], tuple[Run, Answer]]] = {
    WHOLE: _whole,
    KILLED: _killed,
    RESTARTED: _restarted,
    PARALLEL: _parallel,
}


if __name__ == "__main__":
    typer.run(main)
