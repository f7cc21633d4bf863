"""The SHA-256 of a file whose bytes don't all pass by in order: in a thread, beside the sending.

An upload that goes on from an earlier run, or in parts, sends some bytes only or in another order,
and the receipt is for all of them. What was sent is read again for it, mostly from the page cache;
when the last byte is sent, almost nothing is left to do.
"""

from __future__ import annotations

import hashlib
import threading
from types import TracebackType
from typing import Self

from portside.client.http.errors import UploadError
from portside.client.upload.body import BLOCK, OpenFile

READ_AHEAD = 64 * 1024 * 1024
"""Bytes that may be hashed before they are sent: they wait in the page cache for the sender. More
would read a file that is larger than the memory twice from its disk."""


class ContentHash:
    """Hashes `file` from its start as far as `allow` says. Leaving the context ends the thread."""

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._allowed = 0
        self._ended = False
        self._error: UploadError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        # It ends within a block, and must have done so before the file is closed.
        self._thread.join()

    def allow(self, position: int) -> None:
        """The bytes up to `position`, and a little further, may be read now."""
        with self._changed:
            self._allowed = max(self._allowed, min(position + READ_AHEAD, self._file.size))
            self._changed.notify()

    def sha256(self) -> str:
        """The whole file's, in hex. Waits for it. Raises LocalFileError when it can't be read."""
        self.allow(self._file.size)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def _run(self) -> None:
        try:
            position = 0
            while position < self._file.size:
                allowed = self._wait_beyond(position)
                if allowed is None:
                    return
                end = min(allowed, position + 8 * BLOCK)
                for block in self._file.blocks(position, end):
                    self._hash.update(block)
                position = end
        except UploadError as error:
            self._error = error

    def _wait_beyond(self, position: int) -> int | None:
        """How far bytes may be read, once that is beyond `position`; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._allowed > position)
            return None if self._ended else self._allowed
