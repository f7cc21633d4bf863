"""HTTP connections for uploads of hours: an answer that comes before the body's end is heard.

A node refuses a bad upload as soon as it has read the headers. An ordinary HTTP client learns of
that only after it has sent the last of its gigabytes, or sees a broken pipe instead of the answer.
These connections ask first (`Expect: 100-continue`, RFC 9110 section 10.1.1), and look for an
answer before each block and whenever the node stops taking data.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

GO_AHEAD_SECONDS = 2.0
"""How long to wait for `100 Continue`. Servers may leave it out: then the body is just sent."""

STALL_SECONDS = 180.0
"""A node that takes no byte for this long is gone."""

_KEEPALIVE: list[tuple[int, int, int]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # While the node verifies, nothing travels: a peer that vanished is noticed within 30 + 6 * 15
    # seconds, and middleboxes keep the connection open.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 6))
        if hasattr(socket, name)
    ),
]


class AnsweredEarly(BrokenPipeError):
    """The node has answered: no more of the body is wanted.

    A BrokenPipeError, because that is what urllib3 takes as "stop sending, read the answer".
    """


class _Listening(HTTPConnection):
    """Sends a body while listening for an answer."""

    _early = b""
    _expects_go_ahead = False
    _in_body = False

    def putrequest(self, *arguments: Any, **options: Any) -> None:
        self._early, self._expects_go_ahead, self._in_body = b"", False, False
        super().putrequest(*arguments, **options)

    def putheader(self, header: Any, *values: Any) -> None:
        self._expects_go_ahead |= header in ("Expect", b"Expect")
        super().putheader(header, *values)

    def endheaders(self, *arguments: Any, **options: Any) -> None:
        super().endheaders(*arguments, **options)
        self._in_body = True
        if self._expects_go_ahead:
            self._wait_for_go_ahead()

    def send(self, data: Any) -> None:
        if not self._in_body:
            super().send(data)
            return
        if _ready(self.sock, select.POLLIN, 0):
            self._listen()
        self._send_listening(memoryview(data))

    def _wait_for_go_ahead(self) -> None:
        deadline = time.monotonic() + GO_AHEAD_SECONDS
        while (left := deadline - time.monotonic()) > 0 and _ready(self.sock, select.POLLIN, left):
            if self._listen():
                return

    def _send_listening(self, left: memoryview) -> None:
        patience = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            while left:
                try:
                    left = left[self.sock.send(left) :]
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    ready = _ready(self.sock, select.POLLIN | select.POLLOUT, STALL_SECONDS)
                    if not ready:
                        raise TimeoutError(
                            f"the node took no data for {STALL_SECONDS:.0f} seconds"
                        ) from None
                    if ready & ~select.POLLOUT:
                        self._listen()
        finally:
            self.sock.settimeout(patience)

    def _listen(self) -> bool:
        """Take what has arrived; True if it is an interim response, raise AnsweredEarly if not.

        With TLS, a readable socket may hold nothing for us: session tickets come unasked.
        """
        patience = self.sock.gettimeout()
        self.sock.settimeout(0)
        try:
            arrived = self.sock.recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        finally:
            self.sock.settimeout(patience)
        self._early = _without_interim(self._early + arrived)
        if self._early or not arrived:
            raise AnsweredEarly("the node has answered")
        return True

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *arguments: Any, **options: Any
    ) -> http.client.HTTPResponse:
        """The response, beginning with the bytes that `_listen` has already taken."""
        response = http.client.HTTPResponse(sock, *arguments, **options)
        if self._early:
            response.fp = io.BufferedReader(_Rejoined(self._early, response.fp))
        return response


class _Rejoined(io.RawIOBase):
    """The bytes already taken, then the rest of the stream."""

    def __init__(self, taken: bytes, rest: io.BufferedReader) -> None:
        self._taken = taken
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._taken:
            return self._rest.readinto1(buffer)
        count = min(len(buffer), len(self._taken))
        buffer[:count], self._taken = self._taken[:count], self._taken[count:]
        return count

    def close(self) -> None:
        self._rest.close()
        super().close()


def _without_interim(received: bytes) -> bytes:
    """`received` without the complete 1xx responses at its start (RFC 9110, section 15.2)."""
    while received.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
        _, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            break
        received = rest
    return received


def _ready(sock: socket.socket, events: int, seconds: float) -> int:
    """Which of `events` (or an error) `sock` has within `seconds`; 0 when none came."""
    poll = select.poll()
    poll.register(sock, events)
    return next((mask for _, mask in poll.poll(seconds * 1000)), 0)


class _ListeningTls(_Listening, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Listening


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _ListeningTls


class UploadAdapter(HTTPAdapter):
    """Makes a `requests` session use these connections, directly or through a proxy."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, socket_options=_KEEPALIVE)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager
