"""`python -m bench.catalogue`: a node with many files: listing them, reindex, fsck.

Ends with the terminal's tables, `build/bench/catalogue.json` and the section `catalogue` of
`bench/RESULTS.md`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from agent import settings as agent_settings
from agent.settings import Settings
from bench import catalogue_report, committed_files, source
from bench.catalogue_report import Figures, Run
from bench.command import Bench, Directory, Record
from bench.contenders import Ground
from bench.contenders.portside import Portside, PortsideService
from bench.places import BUILD, NODE
from bench.processes import ServerFailed, peak_memory
from portside import sizing
from portside.tokens import mint_access
from portside.wire import paths
from portside.wire.claims import AccessClaims
from portside.wire.files import FilePage, StoredFile

_PAGE = 100
_LOOK = 0.005
"""Seconds between two looks at a command's memory."""
_COMMANDS: Mapping[str, Sequence[str]] = {
    "reindex": ("reindex",),
    "reindex, nothing to do": ("reindex",),
    "fsck": ("fsck",),
    "fsck --digests": ("fsck", "--digests"),
}


class CatalogueFailed(Exception):
    """A node's answer or command was not what it should be."""


_BENCH = Bench(
    "catalogue",
    catalogue_report.show,
    catalogue_report.markdown,
    (CatalogueFailed, ServerFailed, OSError),
)


def main(
    files: Annotated[int, typer.Option(min=1000, help="Files on the node.")] = 10_000,
    requests: Annotated[int, typer.Option(min=100, help="Requests of each kind of page.")] = 300,
    directory: Directory = None,
    record: Record = True,
) -> None:
    """Fill a node with files and measure what depends on their number."""
    _BENCH.run(lambda place, tell: _measured(place, files, requests, tell), directory, record)


def _measured(place: Path, count: int, requests: int, tell: Callable[[str], None]) -> Figures:
    with tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place) as name:
        directory = Path(name)
        with _node(directory) as service:
            settings = agent_settings.load(directory / "agent.toml")
            tell(f"making {count} files")
            stored = committed_files.make(settings, count)
            # A real upload's bytes are on disk when it is acknowledged.
            os.sync()
            tell("listing")
            pages = _list(service, stored, requests)
        runs = {}
        for number, (command, arguments) in enumerate(_COMMANDS.items()):
            tell(command)
            if number == 0:
                _remove_index(settings)
            runs[command] = _run(directory, arguments)
    return Figures(count, pages, runs)


@contextmanager
def _node(directory: Path) -> Iterator[PortsideService]:
    """A node of ours behind nginx, without files."""
    with tempfile.TemporaryDirectory(prefix="portside-bench-") as sockets:
        unused = source.make(directory / "source", 1)
        ground = Ground(directory, Path(sockets) / "agent", BUILD, unused, sizing.size(NODE))
        with Portside().serving(ground) as service:
            yield service


def _list(
    service: PortsideService, stored: Sequence[StoredFile], requests: int
) -> dict[str, list[float]]:
    """Seconds of every request, by the kind of page. Raises CatalogueFailed."""
    some = stored[len(stored) // 2]
    before = some.committed_at.isoformat()
    kinds: dict[str, dict[str, str]] = {
        "newest": {},
        "of a namespace": {"namespace": some.namespace},
        "of an owner": {"owner": some.owner},
        "of an owner in a namespace": {"owner": some.owner, "namespace": some.namespace},
        "before a moment": {"committed_before": before},
        "in a namespace before a moment": {"namespace": some.namespace, "committed_before": before},
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    seconds["one page after the other"] = []
    following: dict[str, str] = {}
    connection = HTTPConnection("127.0.0.1", service.port, timeout=60)
    headers = {"Authorization": f"Bearer {mint_access(service.issuer, _claims(service))}"}
    for number in range(requests + 1):
        for kind in seconds:
            query = kinds.get(kind, following)
            began = time.perf_counter()
            page = _page(connection, query, headers)
            if number:
                # The first round opens the connection and warms everything up.
                seconds[kind].append(time.perf_counter() - began)
            if kind not in kinds:
                following = {"cursor": page.next} if page.next else {}
    connection.close()
    return seconds


def _page(
    connection: HTTPConnection, query: Mapping[str, str], headers: Mapping[str, str]
) -> FilePage:
    connection.request(
        "GET", f"{paths.FILES}?{urlencode({**query, 'limit': _PAGE})}", headers=dict(headers)
    )
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise CatalogueFailed(f"a page answered {answer.status}: {body[:200]!r}")
    page = FilePage.model_validate_json(body)
    if not page.files:
        raise CatalogueFailed(f"a page is empty: {dict(query)}")
    return page


def _claims(service: PortsideService) -> AccessClaims:
    now = int(time.time())
    return AccessClaims(
        iss=service.issuer.owner,
        aud=service.node.node_id,
        sub="bench",
        iat=now,
        nbf=now,
        exp=now + 3600,
        rights=("list",),
    )


def _remove_index(settings: Settings) -> None:
    for path in settings.index.parent.glob(f"{settings.index.name}*"):
        path.unlink()


def _run(directory: Path, arguments: Sequence[str]) -> Run:
    """A command of the node's own, which must find everything in order."""
    program = str(Path(sys.executable).parent / "portside-agent")
    command = [program, *arguments, "--config", str(directory / "agent.toml")]
    log = directory / "command.log"
    with log.open("wb") as output:
        peak = 0
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        # rusage would tell of this process's own memory, which the child has before its exec.
        while process.poll() is None:
            peak = max(peak, peak_memory([process.pid]))
            time.sleep(_LOOK)
        seconds = time.perf_counter() - began
    if process.returncode != 0:
        raise CatalogueFailed(f"{' '.join(arguments)}: {log.read_text(encoding='utf-8')[-2000:]}")
    return Run(seconds, peak)


if __name__ == "__main__":
    typer.run(main)
