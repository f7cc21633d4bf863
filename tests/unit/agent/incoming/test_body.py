"""Every byte of a body passes the bound of bandwidth, however it has come."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import get_parser

from agent.incoming.body import Body, ChunkedBody, SizedBody
from agent.incoming.receiving import Receiving

CONTENT = b"0123456789" * 100


class _Counting:
    """A pace that lets ten bytes in at a time, and first says that none may come."""

    def __init__(self) -> None:
        self.asked = 0
        self.count = 0

    def piece(self, most: int) -> tuple[int, float]:
        self.asked += 1
        return (min(most, 10), 0.0) if self.asked > 1 else (0, 0.001)

    def came(self, count: int) -> None:
        # Nothing has come before any may.
        assert self.asked > 1
        self.count += count

    def leave(self) -> None:
        """Nobody waits for it here."""


def _opened(connection: socket.socket, receiving: Receiving) -> Body:
    request = next(get_parser(Config(), connection, ("127.0.0.1", 1)))
    environ: dict[str, Any] = {"gunicorn.socket": connection, "wsgi.input": request.body}
    sizes = [int(value) for name, value in request.headers if name == "CONTENT-LENGTH"]
    if sizes:
        return SizedBody(environ, sizes[0], receiving)
    return ChunkedBody(environ, receiving)


@pytest.mark.parametrize("with_head", [0, 100, len(CONTENT)])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bytes_are_counted_wherever_they_were_read(is_chunked: bool, with_head: int) -> None:
    coding = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {len(CONTENT)}"
    head = f"PUT /a HTTP/1.1\r\nHost: a\r\n{coding}\r\n\r\n".encode()
    chunks = f"{len(CONTENT):x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n"
    body = chunks if is_chunked else CONTENT
    near, far = socket.socketpair()
    pace = _Counting()
    receiving = Receiving(1024, pace=pace)
    with near, far:
        far.sendall(head + body[:with_head])
        opened = _opened(near, receiving)
        far.sendall(body[with_head:])
        buffer = memoryview(bytearray(2 * len(CONTENT)))
        assert opened.fill(buffer) == len(CONTENT)
        assert buffer[: len(CONTENT)] == CONTENT
    # Of chunks what stands around the content comes over the line as well.
    assert pace.count == len(body)
    receiving.close()
