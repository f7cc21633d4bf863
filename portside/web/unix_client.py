"""One GET over a unix socket: how processes of one node ask each other how they are."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

PATIENCE = 5.0
"""Seconds: who takes longer than this to say how it is isn't well."""

_MOST = 256 * 1024


class Silent(Exception):
    """Nobody answers, or says no more than that something is wrong; the message says what."""


def get(path: Path, url: str) -> bytes:
    """The body of a 200, 256 KiB at most. Raises Silent."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(path))
        connection.request("GET", url)
        answer = connection.getresponse()
        body = answer.read(_MOST)
        if answer.status != http.HTTPStatus.OK:
            raise Silent(f"it answered {answer.status}")
        return body
    except (OSError, http.client.HTTPException) as error:
        raise Silent(str(error) or type(error).__name__) from None
    finally:
        connection.close()
