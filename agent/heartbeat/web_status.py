"""What the web side says of itself, asked by the worker: the numbers that admission decides by.

Slots and promised space are known to that process alone. It is asked over its own unix socket: what
stands before it, and who may pass there, doesn't matter.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from portside.web import unix_client
from portside.wire import paths
from portside.wire.status import UploadStatus


class WebSilent(Exception):
    """The web side doesn't say how it is; the message says why."""


def ask(path: Path) -> UploadStatus:
    """The answer of `GET /api/v1/system/upload-status`. Raises WebSilent."""
    try:
        return UploadStatus.model_validate_json(unix_client.get(path, paths.UPLOAD_STATUS))
    except unix_client.Silent as silent:
        raise WebSilent(str(silent)) from None
    except ValidationError as error:
        raise WebSilent(f"its answer is none: {error.errors()[0]['msg']}") from None
