"""One HTTP/1.1 client for all contenders: raw sockets and sendfile(2), so that it costs little.

The timer runs from the first byte sent to the status line; a second one from the return of the last
send, which is when a progress bar shows 100 %: what comes after it is the wait people see.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 1024 * 1024
_SILENCE_SECONDS = 600.0
_MOST_OF_AN_ANSWER = 1024 * 1024


class UploadFailed(Exception):
    """No usable answer, or one that isn't a success."""


@dataclass(frozen=True, slots=True)
class Request:
    """An upload of the source file, with what stands around it in the body (a form's parts)."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""

    def body_length(self, size: int) -> int:
        """Bytes of the body when the file has `size`."""
        return len(self.before) + size + len(self.after)

    def head(self, size: int) -> bytes:
        """Request line and headers (RFC 9112, section 3)."""
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            "Host: 127.0.0.1",
            "Connection: close",
            f"Content-Length: {self.body_length(size)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Exchange:
    """An upload and how long it took: seconds, and the client's own CPU seconds."""

    answer: Answer
    seconds: float
    wait: float
    client_cpu: float


def upload(port: int, request: Request, source: Path) -> Exchange:
    """Send `source` as `request` to the loopback `port`. Raises UploadFailed unless 2xx."""
    size = source.stat().st_size
    with _connected(port) as connection, source.open("rb") as file:
        cpu = time.thread_time()
        started = time.monotonic()
        try:
            connection.sendall(request.head(size) + request.before)
            _send_file(connection, file.fileno(), size)
            if request.after:
                connection.sendall(request.after)
            sent = time.monotonic()
        except ConnectionError as error:
            # A refusal may have come before the body was through: it says more than the reset.
            answer = _receive(connection, request)
            raise UploadFailed(f"{_described(request, answer)} ({error.strerror})") from None
        beginning = connection.recv(_CHUNK)
        answered = time.monotonic()
        cpu = time.thread_time() - cpu
        answer = _receive(connection, request, beginning)
    if not 200 <= answer.status < 300:
        raise UploadFailed(_described(request, answer))
    return Exchange(answer, answered - started, answered - sent, cpu)


def ask(port: int, method: str, target: str, headers: Mapping[str, str] | None = None) -> Answer:
    """A small request without a body. Raises UploadFailed unless 2xx."""
    request = Request(method, target, headers or {})
    with _connected(port) as connection:
        connection.sendall(request.head(0))
        answer = _receive(connection, request)
    if not 200 <= answer.status < 300:
        raise UploadFailed(_described(request, answer))
    return answer


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_SILENCE_SECONDS)


def _send_file(connection: socket.socket, file: int, size: int) -> None:
    # A blocking socket: with Python's timeout each call would be a poll(2) as well.
    connection.settimeout(None)
    offset = 0
    while offset < size:
        offset += os.sendfile(connection.fileno(), file, offset, min(_CHUNK, size - offset))
    connection.settimeout(_SILENCE_SECONDS)


def _receive(connection: socket.socket, request: Request, beginning: bytes = b"") -> Answer:
    data = bytearray(beginning)
    try:
        # `Connection: close` was asked for: the answer ends with the connection.
        while len(data) < _MOST_OF_AN_ANSWER and (piece := connection.recv(65536)):
            data += piece
    except OSError as error:
        if not data:
            raise UploadFailed(f"{request.method} {request.target}: {error}") from None
    return parse_answer(bytes(data))


def parse_answer(data: bytes) -> Answer:
    """An answer as it came. Raises UploadFailed when it is none."""
    head, separator, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if not separator or len(words) < 2 or not words[1].isdigit():
        raise UploadFailed(f"no HTTP answer but {data[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    return Answer(int(words[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


def _described(request: Request, answer: Answer) -> str:
    return f"{request.method} {request.target}: {answer.status} {answer.body[:500]!r}"
