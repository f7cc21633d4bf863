"""What the web side says of itself, asked by the worker: the numbers that admission decides by.

Slots and promised space are known to that process alone. It is asked over its own unix socket: what
stands before it, and who may pass there, doesn't matter.
"""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

from pydantic import ValidationError

from portside.wire import paths
from portside.wire.status import UploadStatus

PATIENCE = 5.0
"""Seconds: a web side that takes longer than this takes no uploads either."""

_MOST = 256 * 1024


class WebSilent(Exception):
    """The web side doesn't say how it is; the message says why."""


def ask(path: Path) -> UploadStatus:
    """The answer of `GET /api/v1/system/upload-status`. Raises WebSilent."""
    connection = http.client.HTTPConnection("localhost", timeout=PATIENCE)
    try:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(PATIENCE)
        connection.sock.connect(str(path))
        connection.request("GET", paths.UPLOAD_STATUS)
        answer = connection.getresponse()
        body = answer.read(_MOST)
        if answer.status != http.HTTPStatus.OK:
            raise WebSilent(f"it answered {answer.status}")
        return UploadStatus.model_validate_json(body)
    except (OSError, http.client.HTTPException) as error:
        raise WebSilent(str(error) or type(error).__name__) from None
    except ValidationError as error:
        raise WebSilent(f"its answer is none: {error.errors()[0]['msg']}") from None
    finally:
        connection.close()
