"""The SHA-256 of a file that is written in parts, worked out behind the writers.

Parts arrive side by side, a digest wants them one after the other: whatever is there without a gap
is read back and hashed while the rest arrives, so that joining the parts at the end waits for the
last of them only. After a restart it begins at the file's beginning again.
"""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from agent.host.read_ahead import ReadAhead
from agent.host.sha256 import Sha256
from agent.storage.staging import DiskFailed


class PrefixHash:
    """One file's digest under way. Thread-safe; its thread lives only while there is work."""

    def __init__(self, path: Path, buffer_size: int) -> None:
        self._path = path
        self._buffer_size = buffer_size
        self._changed = threading.Condition()
        self._digest = Sha256()
        self._position = 0
        self._frontier = 0
        self._running = False
        self._error: OSError | None = None

    def advance(self, frontier: int) -> None:
        """Bytes up to `frontier` won't change any more: hash up to there in the background."""
        with self._changed:
            self._frontier = max(self._frontier, frontier)
            if not self._running and self._error is None and self._position < self._frontier:
                self._running = True
                threading.Thread(target=self._run, name="prefix-hash", daemon=True).start()

    def hexdigest(self, size: int) -> str:
        """Wait for the digest of the first `size` bytes. Raises DiskFailed.

        Raises ValueError when more of the file was hashed already: it is another file's digest.
        """
        self.advance(size)
        with self._changed:
            while self._error is None and self._position < size:
                self._changed.wait()
            if self._error is not None:
                raise DiskFailed(f"reading back failed: {self._error.strerror}") from self._error
            if self._position != size:
                raise ValueError(f"{self._position} bytes are hashed, not {size}")
            return self._digest.hexdigest()

    def _run(self) -> None:
        try:
            with ReadAhead(self._path, self._buffer_size) as reader:
                while (end := self._next_end()) is not None:
                    self._hash(reader, end)
        except OSError as error:
            with self._changed:
                self._error, self._running = error, False
                self._changed.notify_all()

    def _next_end(self) -> int | None:
        with self._changed:
            if self._position < self._frontier:
                return self._frontier
            self._running = False
            return None

    def _hash(self, reader: ReadAhead, end: int) -> None:
        coming = reader.begin(self._position, end)
        while self._position < end:
            data = coming.result()
            if not data:
                raise OSError(errno.EIO, "the file is shorter than what was written to it")
            if self._position + len(data) < end:
                # The next piece is read while this one is hashed.
                coming = reader.begin(self._position + len(data), end)
            self._digest.update(data)
            with self._changed:
                self._position += len(data)
                self._changed.notify_all()
