"""A node's bandwidth for downloads: each has its bound, and all of them together theirs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB, MIB
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.loopback import wait_until
from tests.support.nginx_process import Nginx

PLACE = "/uploads/open/large.bin"


def _configuration(limits: str, cores: int = 2) -> str:
    machine = sizing.Machine(ram=2 * GIB, cores=cores, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    cluster = parse(f"{CLUSTER}limits: {{bandwidth: {limits}}}\n")
    return configuration(StorageNode("s01", cluster, found, sizing.size(machine), "root"))


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Nginx]:
    """Two workers, 4 MiB a second for all that they serve."""
    path = nginx_process.write(_configuration("{download: 3MiB, downloads: 4MiB}"), tmp_path)
    file = tmp_path / "data" / "uploads" / "open" / "large.bin"
    file.parent.mkdir()
    with file.open("wb") as written:
        written.truncate(1 * GIB)
    running = Nginx(path)
    yield running
    running.stop()


class _Download:
    """One that goes on until it is closed."""

    def __init__(self, nginx: Nginx, source: str) -> None:
        self._connection = nginx.connect(source)
        self._connection.sendall(f"GET {PLACE} HTTP/1.1\r\nHost: s01\r\n\r\n".encode())
        self.size = 0
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        with suppress(OSError, ValueError):
            while piece := self._connection.recv(256 * 1024):
                self.size += len(piece)

    def close(self) -> None:
        self._connection.close()
        self._thread.join()


def test_addresses_share_what_a_node_may_serve_however_many_downloads_they_have(
    nginx: Nginx, tmp_path: Path
) -> None:
    downloads = [_Download(nginx, source) for source in ["127.0.0.2"] * 3 + ["127.0.0.3"]]
    before = [0] * 4

    def is_shared() -> bool:
        """Whether it was, while another 2 MiB came to the one that is alone."""
        if downloads[3].size - before[3] < 2 * MIB:
            return False
        *three, one = (each.size - was for each, was in zip(downloads, before, strict=True))
        before[:] = [each.size for each in downloads]
        return sum(three) == pytest.approx(one, rel=0.3)

    # Without it the three had three times as much: what bounds each is the same for all.
    wait_until(is_shared)
    for each in downloads:
        each.close()
    # There it says so where it doesn't know nginx's inside.
    assert (tmp_path / "error.log").read_text() == ""


def test_without_bounds_nginx_has_nothing_of_them() -> None:
    text = _configuration("{upload: 1MiB}")
    for word in ("limit_rate", "portside_downloads", "log_by_lua", "body_filter_by_lua"):
        assert word not in text


@pytest.mark.parametrize("limits", ["{download: 1GiB}", "{downloads: 64KiB}"])
def test_nginx_takes_the_configuration(limits: str, tmp_path: Path) -> None:
    path = nginx_process.write(_configuration(limits), tmp_path)
    assert nginx_process.check(path) == ""
