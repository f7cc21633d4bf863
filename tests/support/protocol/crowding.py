"""An attack on threads and slots: connections that ask for much and send next to nothing."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from portside.wire import paths

REPLAYS = 44
"""More than a node of 512 MiB has threads."""

_SIZE = 1000
_TUS = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
_CHUNK = b"10000\r\n" + bytes(64 * 1024) + b"\r\n"


@dataclass(slots=True)
class Crowd:
    """The connections of an attack. Leaving the context ends them."""

    connect: Callable[[], ssl.SSLSocket]
    mint: Callable[..., str]
    """Makes an upload token for the node with some of its claims changed."""
    host: str = "localhost"
    opened: list[ssl.SSLSocket] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self.opened:
            each.close()

    def replays(self) -> None:
        """Creations of uploads that are stored, again, with bodies that come byte by byte."""
        for _ in range(REPLAYS):
            token = self.mint(sub="replayer", name="replayed.bin")
            headers = {**_TUS, "Upload-Length": str(_SIZE), "Content-Length": str(_SIZE)}
            stored = self._open("POST", paths.RESUMABLE_UPLOADS, token, headers)
            stored.sendall(bytes(_SIZE))
            assert _status(stored) in (http.client.CREATED, 503)
            self._open("POST", paths.RESUMABLE_UPLOADS, token, headers).sendall(b"\0")

    def whole_replays(self) -> None:
        """Files that are stored, again, byte by byte, each with a token of its own."""
        for number in range(12):
            token = self.mint(sub="replayer")
            place, headers = f"{paths.UPLOAD}/again.bin", {"Content-Length": str(_SIZE)}
            stored = self._open("PUT", place, token, headers)
            stored.sendall(bytes(_SIZE))
            assert _status(stored) in (http.client.CREATED, 429), number
            self._open("PUT", place, token, headers).sendall(b"\0")

    def parts(self) -> None:
        """Thirty parts of one token, a byte of each."""
        token = self.mint(sub="parted", name="parted.bin")
        for _ in range(30):
            headers = {**_TUS, "Upload-Concat": "partial", "Upload-Length": str(_SIZE)}
            headers["Content-Length"] = "0"
            created = self._open("POST", paths.RESUMABLE_UPLOADS, token, headers)
            response = _answer(created)
            place = response.headers["Location"].partition("://")[2].partition("/")[2]
            headers = {**_TUS, "Upload-Offset": "0", "Content-Length": str(_SIZE)}
            self._open("PATCH", f"/{place}", token, headers).sendall(b"\0")

    def idle_files(self) -> None:
        """Files of one owner, many tokens, a byte of each."""
        for _ in range(30):
            token = self.mint(sub="idler")
            headers = {"Content-Length": str(_SIZE)}
            self._open("PUT", f"{paths.UPLOAD}/idle.bin", token, headers).sendall(b"\0")

    def slow_json(self) -> None:
        """Requests with a body of JSON that never ends."""
        for _ in range(REPLAYS):
            headers = {"Content-Type": "application/json", "Content-Length": "100"}
            self._open("POST", f"{paths.QUARANTINE}/x", "x", headers).sendall(b"{")

    def refused_bodies(self) -> None:
        """Bodies that are refused when they have begun, and go on."""
        for _ in range(REPLAYS):
            token = self.mint(sub="refused", max_size=64 * 1024)
            place = f"{paths.UPLOAD}/refused.bin"
            refused = self._open("PUT", place, token, {"Transfer-Encoding": "chunked"})
            # Refused before all of it has gone: that is well, too.
            with contextlib.suppress(OSError):
                refused.sendall(_CHUNK + _CHUNK + b"10000\r\n")

    def odd_bodies(self) -> None:
        """Bodies of requests that have none."""
        token = self.mint(sub="odd")
        for method in ("GET", "HEAD", "DELETE", "OPTIONS") * (REPLAYS // 4):
            place = f"{paths.RESUMABLE_UPLOADS}/{secrets.token_hex(16)}"
            headers = {"Tus-Resumable": "1.0.0", "Content-Length": str(_SIZE)}
            self._open(method, place, token, headers).sendall(b"\0")

    def _open(self, method: str, path: str, token: str, headers: dict[str, str]) -> ssl.SSLSocket:
        connection = self.connect()
        self.opened.append(connection)
        sent = {"Host": self.host, "Authorization": f"Bearer {token}", **headers}
        lines: Iterable[str] = (f"{name}: {value}" for name, value in sent.items())
        connection.sendall(
            "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")
        )
        return connection


ATTACKS = (
    Crowd.replays,
    Crowd.whole_replays,
    Crowd.parts,
    Crowd.idle_files,
    Crowd.slow_json,
    Crowd.refused_bodies,
    Crowd.odd_bodies,
)


def _answer(connection: ssl.SSLSocket) -> http.client.HTTPResponse:
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    return response


def _status(connection: ssl.SSLSocket) -> int:
    return _answer(connection).status
