"""One request as bytes, and what comes back. No client library: those mend what they send."""

from __future__ import annotations

import http.client
import socket
from contextlib import suppress
from dataclasses import dataclass

PATIENCE = 10.0
"""Seconds for an answer. Whatever takes longer holds a thread."""

_MOST = 1 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: its bytes, and whether they are all that it announces."""

    port: int
    data: bytes
    whole: bool = True

    @property
    def method(self) -> str:
        """The method, which decides whether an answer has a body."""
        return self.data.split(b" ", 1)[0].decode("latin-1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The status is 0 where that was no answer, and `body` is all there was."""

    status: int
    headers: dict[str, str]
    body: bytes


def exchange(sent: Sent) -> Answer | None:
    """The first answer; None where the connection was closed without one. Raises TimeoutError."""
    with socket.create_connection(("127.0.0.1", sent.port), timeout=PATIENCE) as connection:
        # Who refuses early may have hung up already; its answer is there none the less.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent.data)
            if not sent.whole:
                connection.shutdown(socket.SHUT_WR)
        response = http.client.HTTPResponse(connection, method=sent.method)
        try:
            response.begin()
            return Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(_MOST),
            )
        except (http.client.RemoteDisconnected, ConnectionResetError):
            return None
        except http.client.BadStatusLine as wrong:
            # HTTP/0.9 has no head.
            return Answer(0, {}, str(wrong).encode("latin-1", "replace"))
        except http.client.HTTPException as wrong:
            return Answer(0, {}, repr(wrong).encode())
        finally:
            response.close()
