"""Upload-Checksum: what a request's bytes must hash to (tus, checksum extension)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from agent.problems import ProblemError

CHECKSUMS = ("sha1", "sha256")


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a request's bytes must hash to (tus checksum extension)."""

    algorithm: str
    digest: bytes


def parse_checksum(value: str) -> Checksum | None:
    if not value:
        return None
    algorithm, _, encoded = value.partition(" ")
    if algorithm not in CHECKSUMS:
        raise ProblemError(
            "checksum-unsupported", f"Upload-Checksum takes {' and '.join(CHECKSUMS)}"
        )
    try:
        digest = base64.b64decode(encoded.strip(), validate=True)
    except binascii.Error:
        raise ProblemError("malformed-request", "Upload-Checksum: no digest in Base64") from None
    # One that can't match any bytes is no mismatch: sending the bytes again would never help.
    if len(digest) != hashlib.new(algorithm).digest_size:
        raise ProblemError("malformed-request", f"Upload-Checksum: no {algorithm} has that length")
    return Checksum(algorithm, digest)
