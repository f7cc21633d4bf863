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


class Sending:
    """An upload under way on a connection of its own: its head and the bytes up to `sent` are out.

    `source` is open and outlives this; of it the bytes from `start` to `end` are sent. Leaving the
    context closes the connection, whatever was sent by then.
    """

    def __init__(self, port: int, request: Request, source: int, start: int, end: int) -> None:
        self.sent = start
        self._request = request
        self._source = source
        self._end = end
        self._connection = _connected(port)
        self._began = self._last = time.monotonic()
        self._cpu = 0.0
        self._push(request.head(end - start) + request.before)

    def __enter__(self) -> Sending:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(self, until: int) -> None:
        """Send on up to there in the source. Raises UploadFailed when the server ends it."""
        cpu = time.thread_time()
        # A blocking socket: with Python's timeout each call would be a poll(2) as well.
        self._connection.settimeout(None)
        try:
            while self.sent < until:
                count = min(_CHUNK, until - self.sent)
                self.sent += os.sendfile(self._connection.fileno(), self._source, self.sent, count)
        except ConnectionError as error:
            raise self._ended(error) from None
        finally:
            self._connection.settimeout(_SILENCE_SECONDS)
            self._cpu += time.thread_time() - cpu
            self._last = time.monotonic()

    def finish(self) -> Exchange:
        """Send what is left and wait for the answer. Raises UploadFailed unless it is 2xx."""
        self.send(self._end)
        if self._request.after:
            self._push(self._request.after)
        cpu = time.thread_time()
        try:
            beginning = self._connection.recv(_CHUNK)
        except OSError as error:
            raise UploadFailed(f"{self._request.method} {self._request.target}: {error}") from None
        answered = time.monotonic()
        cpu = self._cpu + time.thread_time() - cpu
        answer = _receive(self._connection, self._request, beginning)
        if not 200 <= answer.status < 300:
            raise UploadFailed(_described(self._request, answer))
        return Exchange(answer, answered - self._began, answered - self._last, cpu)

    def _push(self, data: bytes) -> None:
        cpu = time.thread_time()
        try:
            self._connection.sendall(data)
        except ConnectionError as error:
            raise self._ended(error) from None
        self._cpu += time.thread_time() - cpu
        self._last = time.monotonic()

    def _ended(self, error: ConnectionError) -> UploadFailed:
        # A refusal may have come before the body was through: it says more than the reset.
        answer = _receive(self._connection, self._request)
        return UploadFailed(f"{_described(self._request, answer)} ({error.strerror})")


def upload(port: int, request: Request, source: Path) -> Exchange:
    """Send `source` as `request` to the loopback `port`. Raises UploadFailed unless 2xx."""
    size = source.stat().st_size
    with (
        source.open("rb") as file,
        Sending(port, request, file.fileno(), 0, size) as sending,
    ):
        return sending.finish()


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
