"""One file sent in parts, side by side: where each part lies, and how they become the file.

Parts share one staging file. Each begins where the one created before it ends, so parts that are
joined in the order of their creation are the file already, and nothing is copied. Joined in another
order, they are copied into place.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.index.uploads import Upload, contiguous
from agent.resumable.prefix_hash import PrefixHash
from agent.storage.staging import DiskFailed


@dataclass(slots=True)
class _Assembly:
    """A digest under way, and the parts whose bytes it has or is about to have."""

    hash: PrefixHash
    parts: tuple[str, ...] = ()


class Assemblies:
    """Files that are put together from parts right now, by their staging file. Thread-safe.

    Where a part was given up another one may come to lie, with other bytes: a digest counts for the
    very parts that it was made of.
    """

    def __init__(self, staging: Path, buffer_size: int) -> None:
        self._staging = staging
        self._buffer_size = buffer_size
        self._lock = threading.Lock()
        self._assemblies: dict[str, _Assembly] = {}

    def progressed(self, parts: Sequence[Upload]) -> None:
        """A file's parts have grown; `parts` are all of them in the order of their place."""
        end = contiguous(parts)
        there = [part for part in parts if part.start < end]
        if there:
            self._hash(there).advance(end)

    def digest(self, parts: Sequence[Upload]) -> str:
        """Wait for the SHA-256 of complete parts that lie one behind the other from the beginning.

        Raises DiskFailed.
        """
        size = sum(part.offset for part in parts)
        try:
            return self._hash(parts).hexdigest(size)
        except ValueError:
            # A part that is not to be joined lies behind the others and was hashed too.
            return self._anew(parts).hexdigest(size)

    def forget(self, staging: str) -> None:
        """The file is finished or given up."""
        with self._lock:
            self._assemblies.pop(staging, None)

    def _hash(self, parts: Sequence[Upload]) -> PrefixHash:
        """The digest under way of these parts' bytes, or one that begins if that is of others."""
        staging, ids = parts[0].staging, tuple(part.upload_id for part in parts)
        with self._lock:
            found = self._assemblies.get(staging)
            # Of two who tell at the same time the second may know of fewer.
            if found is None or found.parts[: len(ids)] != ids[: len(found.parts)]:
                found = self._assemblies[staging] = _Assembly(self._anew(parts))
            found.parts = max(found.parts, ids, key=len)
            return found.hash

    def _anew(self, parts: Sequence[Upload]) -> PrefixHash:
        return PrefixHash(self._staging / parts[0].staging, self._buffer_size)


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
