"""The file everyone uploads: random bytes, its SHA-256, and ways to hash what was stored."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Source:
    """A file of `size` bytes on disk."""

    path: Path
    size: int
    sha256: str

    def warm(self) -> None:
        """Read it through, so that no upload pays for reading it from disk."""
        with self.path.open("rb", buffering=0) as file:
            buffer = bytearray(_CHUNK)
            while file.readinto(buffer):
                pass


def make(path: Path, size: int) -> Source:
    """A file of random bytes, which no layer can compress or deduplicate."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        left = size
        while left:
            piece = os.urandom(min(_CHUNK, left))
            digest.update(piece)
            file.write(piece)
            left -= len(piece)
        os.fsync(file.fileno())
    return Source(path, size, digest.hexdigest())


def sha256_of(path: Path) -> str:
    """The hex digest of a stored file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
