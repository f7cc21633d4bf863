"""One HTTP exchange: TLS verified, no redirects, and over within a time that nobody stretches.

The standard library's client: a heavier one would cost a node more memory than all its requests.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.host.tls import TrustError, trust

PATIENCE = 10.0
"""Seconds for one step: connecting, or the next bytes of the answer."""

_PORTS = {"http": 80, "https": 443}

_GLANCE = 0.2
"""Seconds between two looks at the clock and at whether the worker is to stop."""


class Unreachable(Exception):
    """Nobody took the connection."""


class NoAnswer(Exception):
    """The request may have arrived; an answer that can be used hasn't."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. `most` is the most bytes of an answer's body that are read: 0 reads none."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    method: str = "POST"
    most: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


def exchange(
    request: Request,
    deadline: float,
    trusting: Callable[[], ssl.SSLContext] = trust,
    stopped: Callable[[], bool] = lambda: False,
) -> Answer:
    """Send a request and read its answer. Raises Unreachable or NoAnswer, nothing else.

    `deadline` is seconds in all once connected: a receiver that sends a byte now and then is cut
    off. So is every receiver once `stopped` says so. `trusting` gives what a certificate has to be
    signed by.
    """
    parts = urlsplit(request.url)
    try:
        connected = _connect(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except (OSError, UnicodeError) as error:
        # UnicodeError: a name that can't be one (socket.getaddrinfo encodes it as IDNA).
        raise Unreachable(f"can't connect: {error}") from None
    try:
        opened = _secured(connected, parts.scheme, parts.hostname or "", trusting)
    except (OSError, TrustError) as error:
        connected.close()
        raise NoAnswer(f"no answer: {error}") from None
    with opened, _Cutting(opened, deadline, stopped) as cutting:
        target = parts.path or "/"
        if parts.query:
            target += f"?{parts.query}"
        try:
            answer = _exchanged(opened, parts.netloc, target, request)
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswer(
                cutting.reason or f"no answer: {type(error).__name__}: {error}"
            ) from None
    # An answer that was cut in its headers looks like a whole one.
    if cutting.reason:
        raise NoAnswer(cutting.reason)
    return answer


def _connect(host: str, port: int) -> socket.socket:
    """A connection to the first address that takes one. Raises OSError.

    Bounded as a whole: a name may have any number of addresses that don't answer.
    """
    until = time.monotonic() + 2 * PATIENCE
    failed = OSError(f"{host} has no address")
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        patience = min(PATIENCE, until - time.monotonic())
        if patience <= 0:
            break
        try:
            return socket.create_connection((str(address[0]), port), patience)
        except OSError as error:
            failed = error
    raise failed


def _secured(
    connected: socket.socket, scheme: str, host: str, trusting: Callable[[], ssl.SSLContext]
) -> socket.socket:
    if scheme == "http":
        return connected
    # The handshake comes later, when the deadline's clock runs.
    return trusting().wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)


def _exchanged(opened: socket.socket, host: str, target: str, request: Request) -> Answer:
    """Send the request and read its answer. Raises OSError or HTTPException."""
    if isinstance(opened, ssl.SSLSocket):
        opened.do_handshake()
    connection = http.client.HTTPConnection(host)
    # An open socket is used as it is: the host's name is for the header alone.
    connection.sock = opened
    headers = {"Content-Type": "application/json", "Connection": "close", **request.headers}
    connection.request(request.method, target, request.body, headers)
    response = connection.getresponse()
    if not request.most:
        return Answer(response.status, b"")
    body = response.read(request.most + 1)
    if len(body) > request.most:
        raise http.client.HTTPException(f"the answer has more than {request.most} bytes")
    return Answer(response.status, body)


class _Cutting:
    """Ends a connection at its deadline, or when the worker is to stop: `reason` says which."""

    def __init__(self, opened: socket.socket, deadline: float, stopped: Callable[[], bool]) -> None:
        self._opened = opened
        self._deadline = deadline
        self._stopped = stopped
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="exchange", daemon=True)
        self.reason = ""

    def __enter__(self) -> _Cutting:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        until = time.monotonic() + self._deadline
        while not self._over.wait(max(0.0, min(_GLANCE, until - time.monotonic()))):
            if self._stopped():
                self.reason = "no answer before the worker's stop"
            elif time.monotonic() >= until:
                self.reason = f"no answer within {self._deadline:.0f} s"
            if self.reason:
                self._cut()
                return

    def _cut(self) -> None:
        try:
            # The plain socket's shutdown: whatever reads at this moment finds the end of its data.
            socket.socket.shutdown(self._opened, socket.SHUT_RDWR)
        except OSError:
            # The other side was faster.
            return
