"""The certificate that is served is seen as clients see it, whoever signed it, and however old."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.host.served_certificate import look
from tests.support.certificates import made


@contextmanager
def _served(folder: Path, days: tuple[float, float]) -> Iterator[int]:
    """A server on loopback with a certificate of these days; yields its port."""
    pair = made("s01.portside.test", days=days)
    pem = folder / "node.pem"
    pem.write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve() -> None:
        connection, _ = server.accept()
        with connection, context.wrap_socket(connection, server_side=True) as secured:
            secured.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


@pytest.mark.parametrize("days", [(-1, 89), (-90, -3)])
def test_its_days_are_told_also_once_it_has_ended(
    tmp_path: Path, days: tuple[float, float]
) -> None:
    with _served(tmp_path, days) as port:
        found = look(f"https://s01.portside.test:{port}")
    assert found is not None
    now = datetime.now(UTC)
    for told, wanted in zip((found.begins, found.ends), days, strict=True):
        assert abs(told - now - timedelta(days=wanted)) < timedelta(minutes=5)


def test_where_nothing_is_served_there_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert look(f"https://s01.portside.test:{port}") is None
    assert look(f"http://s01.portside.test:{port}") is None
