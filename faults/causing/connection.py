"""HTTP/1.1 to a server that may die at any moment: an answer in full, or NodeGone."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_SILENCE_SECONDS = 60.0


class NodeGone(Exception):
    """The connection broke before the whole answer was there, or couldn't be made."""


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def words(self) -> str:
        """For a complaint."""
        return f"{self.status} {self.body[:300].decode('utf-8', 'replace')}"


class Connection:
    """A connection to a loopback port or a Unix socket, kept alive. Used by one thread."""

    def __init__(self, address: int | Path) -> None:
        self._connection = (
            _UnixConnection(address)
            if isinstance(address, Path)
            else http.client.HTTPConnection("127.0.0.1", address, timeout=_SILENCE_SECONDS)
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up; the next request connects again."""
        self._connection.close()

    def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | memoryview | None = None,
    ) -> Answer:
        """Send a request, read the answer. Raises NodeGone; the next request connects again."""
        try:
            if self._connection.sock is None:
                # Outside of what is passed over below: without a connection there is no answer.
                self._connection.connect()
            # An answer may come before the body is through, and close the connection behind it.
            with suppress(BrokenPipeError, ConnectionResetError):
                self._connection.request(method, target, body=body, headers=dict(headers or {}))
            response = self._connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NodeGone(f"{method} {target}: {error!r}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_SILENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_SILENCE_SECONDS)
        self.sock.connect(str(self._path))
