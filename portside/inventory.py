"""A digest over a set of files, by their ids: equal sets, equal digests, in whatever order. Pure.

Each id's SHA-256 is combined by exclusive or: what comes in and what goes out changes the digest
alike, so that it follows a set of millions one file at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

EMPTY = "0" * 64
"""The digest of no files."""


def toggled(digest: str, file_ids: Iterable[str]) -> str:
    """The digest once each of these files came in, or went out if it was in."""
    combined = int(digest, 16)
    for file_id in file_ids:
        combined ^= int.from_bytes(hashlib.sha256(file_id.encode()).digest())
    return f"{combined:064x}"
