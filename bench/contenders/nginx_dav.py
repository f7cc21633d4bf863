"""nginx alone: its DAV module's PUT. The least a server can do, and so the measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import nginx
from bench.contenders import Ground, Service
from bench.http_client import Answer, Request
from bench.source import sha256_of

_LOCATIONS = """\
        location / {{
            root {root};
            dav_methods PUT;
        }}
"""


class NginxDav:
    """See bench.contenders.Contender."""

    name = "nginx-dav"
    promises = "no hash, no sync"

    def version(self, packages_directory: Path) -> str:
        """nginx's."""
        return nginx.version()

    @contextmanager
    def serving(self, ground: Ground) -> Iterator[Service]:
        """nginx with a folder to write to."""
        root = ground.directory / "files"
        root.mkdir()
        locations = _LOCATIONS.format(root=root)
        with nginx.front(ground.directory, ground.sizing, locations) as (server, port):
            yield _Service(port, server.pid, root / "upload.bin")


@dataclass
class _Service:
    port: int
    nginx: int
    stored: Path
    backends: Sequence[int] = ()

    def next_upload(self) -> Request:
        return Request("PUT", f"/{self.stored.name}")

    def stored_sha256(self, answer: Answer) -> str:
        return sha256_of(self.stored)

    def clear(self) -> None:
        self.stored.unlink()
