"""Bandwidth on real nodes: owners share what comes in, and what goes out is bounded."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from testinfra.host import Host

from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.lab.control_plane import ControlPlane, wait_for
from tests.support.lab.deploy import deploy
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node

BOUNDED = ("s01", "s02")
DOWNLOADS = 8 * MIB
LIMITS = "  bandwidth: {node: 16MiB, owner: 12MiB, downloads: 8MiB}\n"
SIZE = 256 * MIB
METRICS = (
    "/opt/portside/current/venv/bin/python -I -c 'from pathlib import Path; from portside.web "
    'import unix_client; print(unix_client.get(Path("/run/portside/agent.sock"), '
    '"/metrics").decode())\''
)
"""Asked on the node itself: to others they don't show."""

WINDOWS = 12 * MIB
"""More than the buffers of an upload's way hold: behind it what is sent comes in."""


@pytest.fixture(scope="module", autouse=True)
def bounded(provisioned: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two of the lab's nodes with bounds, until these tests end."""
    path = tmp_path_factory.mktemp("bounded") / "lab.yaml"
    path.write_text(LAB.read_text() + LIMITS)
    here = [word for node_id in BOUNDED for word in ("--limit", node_id)]
    run = deploy(path, *here, script="storage_node.py")
    assert run.succeeded, run.output
    yield
    run = deploy(LAB, *here, script="storage_node.py")
    assert run.succeeded, run.output


class _Transfer:
    """An upload or a download that goes on until it is closed."""

    def __init__(self, connection: ssl.SSLSocket, sends: bool) -> None:
        self.size = 0
        self._connection = connection
        self._thread = threading.Thread(target=self._send if sends else self._receive, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        piece = bytes(64 * 1024)
        with suppress(OSError):
            while True:
                self._connection.sendall(piece)
                self.size += len(piece)

    def _receive(self) -> None:
        with suppress(OSError):
            while piece := self._connection.recv(256 * 1024):
                self.size += len(piece)

    def close(self) -> None:
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()


def test_an_owner_with_three_tokens_gets_as_much_as_one_with_a_session(
    talk: Mapping[str, Node], nodes: Mapping[str, Host], control: ControlPlane
) -> None:
    session = control.session(owner="bob", name="bob.bin", size=SIZE, node_id=BOUNDED[0])
    node = talk[session.node_id]
    tokens = [*(node.mint(sub="alice") for _ in range(3)), session.token]
    uploads = [_Transfer(node.open_put("bob.bin", SIZE, each), sends=True) for each in tokens]
    wait_for("they come", 60, lambda: all(each.size > WINDOWS for each in uploads) or None)
    before = [each.size for each in uploads]
    wait_for("twice as much comes", 60, lambda: uploads[3].size - before[3] > 2 * WINDOWS or None)
    *alice, bob = (each.size - was for each, was in zip(uploads, before, strict=True))
    told = nodes[session.node_id].check_output(METRICS)
    for each in uploads:
        each.close()
    # Three times as much if nobody shared it out.
    assert 1 / 1.7 < sum(alice) / bob < 1.7
    assert 'portside_bandwidth_limit_bytes{of="node"} 1.6777216e+07' in told


@pytest.mark.parametrize("node_id", BOUNDED)
def test_a_node_serves_no_more_than_it_may(
    node_id: str, talk: Mapping[str, Node], tmp_path: Path
) -> None:
    """Debian 12 and Debian 13: two releases of nginx."""
    node = talk[node_id]
    content = tmp_path / "large.bin"
    with content.open("wb") as file:
        file.truncate(64 * MIB)
    with content.open("rb") as file:
        answer = node.put("large.bin", file)
    assert answer.status == 201, answer.body
    stored = StoredFile.model_validate_json(answer.body)
    path = f"/uploads/{stored.path}"
    downloads = []
    for _ in range(3):
        connection = node.connect()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {node.host}\r\n\r\n".encode())
        downloads.append(_Transfer(connection, sends=False))
    wait_for("all come", 30, lambda: all(each.size > MIB for each in downloads) or None)
    # What is a mean over seconds can only be seen over seconds.
    time.sleep(2)
    before, begun = [each.size for each in downloads], time.monotonic()
    time.sleep(5)
    seconds = time.monotonic() - begun
    came = [each.size - was for each, was in zip(downloads, before, strict=True)]
    for each in downloads:
        each.close()
    node.manage("DELETE", f"/api/v1/files/{stored.file_id}", "delete")
    # A machine that is busy sends less; unbounded it is a hundred times as much.
    assert sum(came) / seconds < 1.3 * DOWNLOADS
    assert min(came) > 0.3 * max(came)
