"""A webhook is over within its time, whatever its receiver does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from agent.hooks.webhook import post
from agent.host import http_client


@contextmanager
def _receiver(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A receiver that does this with its one connection."""

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            try:
                behave(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join()


def _drip(connection: socket.socket) -> None:
    """One byte now and then, for as long as the other side listens."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X")
        time.sleep(0.1)


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        continue


@pytest.mark.parametrize("behave", [_drip, _silent])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_receiver_can_not_stretch_the_deadline(
    behave: Callable[[socket.socket], None], scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a deadline a receiver may be silent for this long, and drip for ever.
    monkeypatch.setattr(http_client, "PATIENCE", 120.0)
    with _receiver(behave) as port:
        began = time.monotonic()
        outcome = post(f"{scheme}://127.0.0.1:{port}/", b"{}", {}, deadline=1)
        assert time.monotonic() - began < 60
    assert outcome.result == "failed"
    assert "no answer" in outcome.error


@pytest.mark.parametrize(
    "answer", [b"", b"no HTTP\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 70_000]
)
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)

    with _receiver(behave) as port:
        outcome = post(f"http://127.0.0.1:{port}/", b"{}", {})
    assert (outcome.result, outcome.error[:9]) == ("failed", "no answer")


def test_a_name_that_nobody_has_is_a_failure() -> None:
    outcome = post("http://no-such-host.invalid/", b"{}", {})
    assert (outcome.result, outcome.error[:13]) == ("failed", "can't connect")


def test_what_is_sent_is_a_post_of_json_with_our_headers() -> None:
    seen: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        request = b""
        while not request.endswith(b'{"x": 1}'):
            request += connection.recv(65536)
        seen.append(request)
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    with _receiver(behave) as port:
        outcome = post(f"http://127.0.0.1:{port}?a=b", b'{"x": 1}', {"Portside-Signature": "a.b.c"})
    assert outcome.result == "done"
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /?a=b HTTP/1.1"
    assert {
        f"Host: 127.0.0.1:{port}".encode(),
        b"Content-Type: application/json",
        b"Content-Length: 8",
        b"Portside-Signature: a.b.c",
    } <= set(lines)
    assert body == b'{"x": 1}'
