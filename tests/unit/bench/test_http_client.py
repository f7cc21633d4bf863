"""The client sends exactly what it announces, and doesn't take a refusal for a success."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.contenders.portside import form_around
from bench.http_client import Request, Sending, UploadFailed, ask, parse_answer, upload


def test_the_head_announces_all_of_the_body() -> None:
    request = Request("POST", "/up", {"X-Some": "thing"}, before=b"12345", after=b"678")
    assert request.head(100) == (
        b"POST /up HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Length: 108\r\nX-Some: thing\r\n\r\n"
    )


def test_an_answer_is_read_with_its_headers_in_lower_case() -> None:
    answer = parse_answer(b"HTTP/1.1 201 Created\r\nLocation: /a:b\r\nX: \r\n\r\nbody\r\n\r\n")
    assert (answer.status, answer.body) == (201, b"body\r\n\r\n")
    assert answer.headers == {"location": "/a:b", "x": ""}


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nX: y\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_what_is_no_answer_is_an_error(data: bytes) -> None:
    with pytest.raises(UploadFailed, match="no HTTP answer"):
        parse_answer(data)


def test_the_body_goes_out_whole_and_in_order(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(bytes(range(256)) * 20_000)
    request = Request("POST", "/up", before=b"<<", after=b">>")
    with _server(b"HTTP/1.1 201 Created\r\n\r\n", request.body_length(5_120_000)) as (port, got):
        exchange = upload(port, request, file)
    assert exchange.answer.status == 201
    assert bytes(got) == request.head(5_120_000) + b"<<" + file.read_bytes() + b">>"
    assert 0 <= exchange.wait <= exchange.seconds


def test_an_upload_can_stand_still_and_go_on(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(bytes(range(256)) * 20_000)
    request = Request("PATCH", "/up")
    with (
        _server(b"HTTP/1.1 204 No Content\r\n\r\n", 3_000_000) as (port, got),
        file.open("rb") as source,
        Sending(port, request, source.fileno(), 1_000_001, 4_000_001) as sending,
    ):
        sending.send(2_500_000)
        assert sending.sent == 2_500_000
        assert sending.finish().answer.status == 204
    assert bytes(got) == request.head(3_000_000) + file.read_bytes()[1_000_001:4_000_001]


def test_leaving_an_upload_hangs_up(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(bytes(100_000))
    with socket.create_server(("127.0.0.1", 0)) as listener, file.open("rb") as source:
        port = listener.getsockname()[1]
        with Sending(port, Request("PUT", "/up"), source.fileno(), 0, 100_000) as sending:
            sending.send(5_000)
        connection, _ = listener.accept()
        connection.settimeout(60)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        connection.close()
    assert len(received.partition(b"\r\n\r\n")[2]) == 5_000


def test_a_refusal_is_an_error_with_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "source"
    file.write_bytes(b"x")
    with (
        _server(b"HTTP/1.1 507 Insufficient Storage\r\n\r\nfull", 1) as (port, _),
        pytest.raises(UploadFailed, match="507 b'full'"),
    ):
        upload(port, Request("PUT", "/up"), file)


def test_a_refused_question_is_an_error() -> None:
    with (
        _server(b"HTTP/1.1 404 Not Found\r\n\r\n", 0) as (port, _),
        pytest.raises(UploadFailed, match="404"),
    ):
        ask(port, "DELETE", "/gone")


def test_a_form_is_closed_by_the_boundary_it_opens_with() -> None:
    before, after = form_around("upload.bin")
    boundary = before.split(b"\r\n")[0]
    assert before.endswith(b"\r\n\r\n")
    assert after == b"\r\n" + boundary + b"--\r\n"


@contextmanager
def _server(answer: bytes, body_length: int) -> Iterator[tuple[int, bytearray]]:
    """A server for one request, which it keeps."""
    got = bytearray()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while b"\r\n\r\n" not in got or len(got) < got.index(b"\r\n\r\n") + 4 + body_length:
                got.extend(connection.recv(65536))
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], got
        finally:
            thread.join(60)
