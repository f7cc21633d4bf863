"""One file sent in parts, side by side: where each part lies, and how they become the file.

Parts share one staging file. Each begins where the one created before it ends, so parts that are
joined in the order of their creation are the file already, and nothing is copied. Joined in another
order, they are copied into place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

from agent.index.uploads import Upload, contiguous
from agent.resumable.prefix_hash import PrefixHash
from agent.storage.staging import DiskFailed


class Assemblies:
    """Files that are put together from parts right now, by their staging file. Thread-safe."""

    def __init__(self, staging: Path, buffer_size: int) -> None:
        self._staging = staging
        self._buffer_size = buffer_size
        self._lock = threading.Lock()
        self._hashes: dict[str, PrefixHash] = {}

    def progressed(self, parts: Sequence[Upload]) -> None:
        """A file's parts have grown; `parts` are all of them in the order of their place."""
        if parts:
            self._hash(parts[0].staging).advance(contiguous(parts))

    def digest(self, staging: str, size: int) -> str:
        """Wait for the SHA-256 of a file whose parts are complete. Raises DiskFailed."""
        try:
            return self._hash(staging).hexdigest(size)
        except ValueError:
            # A part that is not to be joined lies behind the others and was hashed too.
            return PrefixHash(self._staging / staging, self._buffer_size).hexdigest(size)

    def forget(self, staging: str) -> None:
        """The file is finished or given up."""
        with self._lock:
            self._hashes.pop(staging, None)

    def _hash(self, staging: str) -> PrefixHash:
        with self._lock:
            found = self._hashes.get(staging)
            if found is None:
                found = PrefixHash(self._staging / staging, self._buffer_size)
                self._hashes[staging] = found
            return found


def in_place(parts: Sequence[Upload]) -> bool:
    """Whether `parts`, in this order, lie one behind the other from the beginning."""
    end = 0
    for part in parts:
        if part.start != end:
            return False
        end += part.offset
    return True


class PartsBody:
    """Parts in the order in which they are to be joined, read like a request's body."""

    def __init__(self, path: Path, parts: Sequence[Upload]) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._regions = [(part.start, part.start + part.offset) for part in parts]

    def __enter__(self) -> PartsBody:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def fill(self, buffer: memoryview) -> int:
        """See agent.incoming.body.Body. Raises DiskFailed."""
        filled = 0
        while filled < len(buffer) and self._regions:
            position, end = self._regions[0]
            if position == end:
                del self._regions[0]
                continue
            count = self._read(buffer[filled:][: end - position], position)
            self._regions[0] = (position + count, end)
            filled += count
        return filled

    def _read(self, room: memoryview, position: int) -> int:
        try:
            count = os.preadv(self._descriptor, [room], position)
            os.posix_fadvise(self._descriptor, position, count, os.POSIX_FADV_DONTNEED)
        except OSError as error:
            raise DiskFailed(f"reading a part failed: {error.strerror}") from error
        if count == 0:
            raise DiskFailed("a part is shorter than what was written to it")
        return count
