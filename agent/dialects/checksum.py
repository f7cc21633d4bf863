"""What a request's bytes must hash to: Upload-Checksum (tus) and Content-Digest (RFC 9530)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from agent.dialects.binary_values import decode_base64
from agent.incoming.digests import Digests
from agent.problems import ProblemError

CHECKSUMS = ("sha1", "sha256")

_HASHES = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}
"""The digest fields' algorithms in Python's names."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a request's bytes must hash to; `algorithm` is Python's name."""

    algorithm: str
    digest: bytes


class Comparison:
    """Bytes as they come, compared at their end with what was said of them."""

    def __init__(self, expected: Sequence[Checksum]) -> None:
        self._running = [
            (each, hashlib.new(each.algorithm, usedforsecurity=False)) for each in expected
        ]

    def update(self, data: memoryview) -> None:
        """The next bytes."""
        for _, running in self._running:
            running.update(data)

    def check(self) -> None:
        """These were all. Raises ProblemError when they hash to something else."""
        for each, running in self._running:
            if running.digest() != each.digest:
                raise ProblemError(
                    "checksum-mismatch",
                    f"the bytes' {each.algorithm} is {running.hexdigest()}, "
                    f"{each.digest.hex()} was announced: send them again",
                )


def checksums_of(digests: Digests) -> tuple[Checksum, ...]:
    """What Content-Digest says of a request's bytes."""
    return tuple(Checksum(_HASHES[name], digest) for name, digest in digests.items())


def parse_checksum(value: str) -> Checksum | None:
    """What Upload-Checksum says of them. Raises ProblemError for what can't be understood."""
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
