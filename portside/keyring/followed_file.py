"""What a small file says, read again once the file is another one.

Files are replaced by rename, so that a reader sees the old or the new one whole. A stat(2) for each
question costs about a microsecond, and needs no thread and no signal that could be missed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

_log = structlog.get_logger()

T = TypeVar("T")


class FollowedFile(Generic[T]):
    """What `read` makes of the file at `path` now. Thread-safe.

    A file that is gone or can't be used leaves in force what was read before, and the log says so.
    """

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        """Raises OSError or ValueError when the file can't be used to begin with."""
        self._path = path
        self._read = read
        self._lock = threading.Lock()
        self._seen = _stamp(path)
        self._value = read(path)

    def current(self) -> T:
        """What the file says now."""
        stamp = _stamp(self._path)
        if stamp != self._seen:
            with self._lock:
                if stamp != self._seen:
                    self._take(stamp)
        return self._value

    def _take(self, stamp: object) -> None:
        try:
            self._value = self._read(self._path)
        except (OSError, ValueError) as error:
            # Its content isn't quoted: it may be a private key.
            _log.error("keys stay as they were", path=str(self._path), error=type(error).__name__)
        else:
            _log.info("keys read again", path=str(self._path))
        self._seen = stamp


def _stamp(path: Path) -> object:
    try:
        status = path.stat()
    except OSError:
        return None
    # A file that couldn't be read is tried again once its mode or owner has changed: st_ctime.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
