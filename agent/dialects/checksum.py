"""Upload-Checksum: what a request's bytes must hash to (tus, checksum extension)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agent.dialects.binary_values import decode_base64
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
    algorithm = algorithm.lower()
    if algorithm not in CHECKSUMS:
        raise ProblemError(
            "checksum-unsupported", f"Upload-Checksum takes {' and '.join(CHECKSUMS)}"
        )
    try:
        digest = decode_base64(encoded)
    except ValueError:
        raise ProblemError("malformed-request", "Upload-Checksum: no digest in Base64") from None
    # One that can't match any bytes is no mismatch: sending the bytes again would never help.
    if len(digest) != hashlib.new(algorithm).digest_size:
        raise ProblemError("malformed-request", f"Upload-Checksum: no {algorithm} has that length")
    return Checksum(algorithm, digest)


def refuse_trailer(trailer: str) -> None:
    """Raise ProblemError where `Trailer` announces a checksum behind the body.

    Trailers aren't read (no checksum-trailer among the extensions): the bytes would go unchecked.
    """
    if "upload-checksum" in (name.strip().lower() for name in trailer.split(",")):
        raise ProblemError(
            "checksum-unsupported", "send Upload-Checksum before the body: trailers aren't read"
        )
