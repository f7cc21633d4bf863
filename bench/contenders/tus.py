"""The Node tus server: one POST makes the upload, one PATCH carries the whole body."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import nginx, packages, tus_client
from bench.contenders import Ground, Service
from bench.http_client import Answer, Request
from bench.processes import accepts, running
from bench.source import sha256_of

_LOCATIONS = """\
        location /files {{
            proxy_pass http://unix:{socket}:/files;
            proxy_set_header Host $http_host;
{unbuffered}
        }}
"""


class Tus:
    """See bench.contenders.Contender."""

    name = "tus-node"
    promises = "no hash, no sync"

    def version(self, packages_directory: Path) -> str:
        """@tus/server's, as locked."""
        lock = json.loads(packages.TUS_LOCK.read_text(encoding="utf-8"))
        return f"@tus/server {lock['packages']['node_modules/@tus/server']['version']}"

    @contextmanager
    def serving(self, ground: Ground) -> Iterator[Service]:
        """node on a unix socket behind nginx."""
        directory = ground.directory
        files, socket = directory / "files", ground.socket
        files.mkdir()
        program = packages.tus(ground.packages) / "tus_server.mjs"
        locations = _LOCATIONS.format(socket=socket, unbuffered=nginx.UNBUFFERED)
        with (
            running("tus", ["node", program, socket, files], directory) as node,
            nginx.front(directory, ground.sizing, locations) as (server, port),
        ):
            node.wait_until(accepts(socket))
            yield _Service(port, server.pid, (node.pid,), files, ground.source.size)


@dataclass
class _Service:
    port: int
    nginx: int
    backends: Sequence[int]
    files: Path
    size: int
    target: str = ""

    def next_upload(self) -> Request:
        place = tus_client.create(self.port, "/files", self.size, {})
        self.target = place.target
        return place.append(0)

    def stored_sha256(self, answer: Answer) -> str:
        return sha256_of(self.files / Path(self.target).name)

    def clear(self) -> None:
        for file in self.files.iterdir():
            file.unlink()
