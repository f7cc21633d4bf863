"""POST a hook's event: TLS verified, no redirects, and over within a time that nobody stretches.

The standard library's client: a heavier one would cost a node more memory than all its deliveries.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from agent.hooks import Outcome, answered
from agent.trust import trust

PATIENCE = 10.0
"""Seconds for one step: connecting, or the next bytes of the answer."""

_PORTS = {"http": 80, "https": 443}

DEADLINE = 30.0
"""Seconds in all once connected: a receiver that sends a byte now and then is cut off."""


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    deadline: float = DEADLINE,
    trusting: ssl.SSLContext | None = None,
) -> Outcome:
    """Send `body` as JSON and judge the answer's status. Never raises what a receiver can cause.

    `trusting` says whose certificates count; without it those of the system's authorities.
    """
    parts = urlsplit(url)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    try:
        connected = _connect(parts.hostname or "", parts.port or _PORTS[parts.scheme])
    except OSError as error:
        return Outcome("failed", f"can't connect: {error}")
    late = Outcome("failed", f"no answer within {deadline:.0f} s")
    with _secured(connected, parts.scheme, parts.hostname or "", trusting) as opened:
        until = time.monotonic() + deadline
        cut = threading.Timer(deadline, _cut, (opened,))
        cut.daemon = True
        cut.start()
        try:
            status = _status(opened, parts.netloc, target, body, headers)
        except (OSError, http.client.HTTPException) as error:
            failed = Outcome("failed", f"no answer: {type(error).__name__}: {error}")
            return failed if time.monotonic() < until else late
        finally:
            cut.cancel()
    # An answer that was cut in its headers looks like a whole one.
    return answered(status) if time.monotonic() < until else late


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


def _status(
    opened: socket.socket, host: str, target: str, body: bytes, headers: Mapping[str, str]
) -> int:
    """Send the request and return the answer's status. Raises OSError or HTTPException."""
    if isinstance(opened, ssl.SSLSocket):
        opened.do_handshake()
    connection = http.client.HTTPConnection(host)
    # An open socket is used as it is: the host's name is for the header alone.
    connection.sock = opened
    connection.request(
        "POST",
        target,
        body,
        {"Content-Type": "application/json", "Connection": "close", **headers},
    )
    return connection.getresponse().status


def _secured(
    connected: socket.socket, scheme: str, host: str, trusting: ssl.SSLContext | None
) -> socket.socket:
    if scheme == "http":
        return connected
    # The handshake comes later, when the deadline's clock runs.
    context = trust() if trusting is None else trusting
    return context.wrap_socket(connected, server_hostname=host, do_handshake_on_connect=False)


def _cut(opened: socket.socket) -> None:
    try:
        # The plain socket's shutdown: whatever reads at this moment finds the end of its data.
        socket.socket.shutdown(opened, socket.SHUT_RDWR)
    except OSError:
        # The other side was faster.
        return
