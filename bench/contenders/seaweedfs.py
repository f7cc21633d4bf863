"""SeaweedFS: master, volume server and filer in one process; a PUT to the filer."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import nginx, packages
from bench.contenders import Ground, Service
from bench.http_client import Answer, Request, UploadFailed, ask
from bench.processes import reserved_port, running

_LOCATIONS = """\
        location / {{
            proxy_pass http://127.0.0.1:{filer};
{unbuffered}
        }}
"""
_TARGET = "/bench/upload.bin"
_CHUNK = 1024 * 1024


class SeaweedFS:
    """See bench.contenders.Contender."""

    name = "seaweedfs"
    promises = "MD5 and CRC, no sync"

    def version(self, packages_directory: Path) -> str:
        """weed's."""
        weed = packages.seaweedfs(packages_directory)
        done = subprocess.run([weed, "version"], capture_output=True, text=True, check=True)
        return "SeaweedFS " + done.stdout.split()[2]

    @contextmanager
    def serving(self, ground: Ground) -> Iterator[Service]:
        """`weed server -filer` on loopback behind nginx."""
        weed = packages.seaweedfs(ground.packages)
        ports = Ports(*(reserved_port() for _ in range(6)))
        data = ground.directory / "data"
        data.mkdir()
        locations = _LOCATIONS.format(filer=ports.filer, unbuffered=nginx.UNBUFFERED)
        command = [str(weed), *arguments(ports, data, ground.socket)]
        # Without a HOME and with a folder of its own it finds nobody's configuration.
        with (
            running("weed", command, ground.directory, {"HOME": str(data)}) as server,
            nginx.front(ground.directory, ground.sizing, locations) as (front, port),
        ):
            server.wait_until(lambda: takes_files(port))
            yield _Service(port, front.pid, (server.pid,), ports.master)


@dataclass(frozen=True)
class Ports:
    """Where its parts listen on loopback."""

    master: int
    master_grpc: int
    volume: int
    volume_grpc: int
    filer: int
    filer_grpc: int


def arguments(ports: Ports, data: Path, socket: Path) -> list[str]:
    """Of `weed`: every part in one process, everything it keeps in `data`."""
    return [
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={ports.master}",
        f"-master.port.grpc={ports.master_grpc}",
        # It would report to its makers.
        "-master.telemetry=false",
        f"-volume.port={ports.volume}",
        f"-volume.port.grpc={ports.volume_grpc}",
        "-volume.preStopSeconds=0",
        "-filer",
        f"-filer.port={ports.filer}",
        f"-filer.port.grpc={ports.filer_grpc}",
        f"-filer.localSocket={socket}",
    ]


def takes_files(port: int) -> bool:
    """Its ports are open long before it has a volume to write to."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("PUT", "/bench/ready.txt", body=b"ready")
        return connection.getresponse().status == http.client.CREATED
    except OSError:
        return False
    finally:
        connection.close()


@dataclass
class _Service:
    port: int
    nginx: int
    backends: Sequence[int]
    master: int

    def next_upload(self) -> Request:
        return Request("PUT", _TARGET, {"Content-Type": "application/octet-stream"})

    def stored_sha256(self, answer: Answer) -> str:
        """Its volumes are its own format: get the file back and hash it on the way."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        try:
            connection.request("GET", _TARGET)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise UploadFailed(f"GET {_TARGET}: {response.status}")
            digest = hashlib.sha256()
            while piece := response.read(_CHUNK):
                digest.update(piece)
            return digest.hexdigest()
        finally:
            connection.close()

    def clear(self) -> None:
        ask(self.port, "DELETE", _TARGET)
        # Deleted space is only given back by a vacuum.
        ask(self.master, "GET", "/vol/vacuum?garbageThreshold=0.01")
