"""What a request says its bytes hash to, read from whichever field says it, and held to it.

Two things can be meant (RFC 9530): `Content-Digest` is of the bytes of this request,
`Repr-Digest` of the whole file that they are of. `Content-MD5` (RFC 2616) means the first,
`Digest` (RFC 3230) the second. A digest that was sent to be checked is never passed over: one that
can't be computed here is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import http_sf

from agent.incoming.body import Body
from agent.problems import ProblemError

Digests = Mapping[str, bytes]
"""By their algorithms' names in IANA's registry for HTTP digest fields."""

_HASHES = {"sha-256": "sha256", "sha-512": "sha512", "sha": "sha1", "md5": "md5"}
"""By their names there, in Python's. MD5 and SHA-1 are no proof against malice; a broken cable they
find, and clients of object stores send nothing else."""

SIZES = {
    name: hashlib.new(python, usedforsecurity=False).digest_size for name, python in _HASHES.items()
}
"""Bytes of each algorithm's digest."""

_OTHER_NAMES = {"sha256": "sha-256", "sha512": "sha-512", "sha1": "sha", "sha-1": "sha"}

_NOT_CHECKED = tuple(
    f"{prefix}{name}"
    for prefix in ("X-Checksum-", "X-Amz-Checksum-")
    for name in ("CRC32", "CRC32C", "CRC64NVME", "SHA512-256", "Blake3", "XXH3", "XXH64", "XXH128")
)
"""Enough only beside one that is."""


class Head(Protocol):
    """Headers: a request's, or those of a form's part."""

    def header(self, name: str) -> str:
        """A header's value, empty without it."""


def content_digest(head: Head) -> Digests:
    """What the bytes of this request hash to, before any transfer coding. Raises ProblemError."""
    return agreed(
        _structured(head, "Content-Digest"),
        _single(head, "Content-MD5", "md5"),
        _single(head, "X-Amz-Content-SHA256", "sha-256", unless=("UNSIGNED-PAYLOAD", "STREAMING-")),
    )


def repr_digest(head: Head) -> Digests:
    """What the whole file hashes to, however many requests bring it. Raises ProblemError."""
    found = agreed(
        _structured(head, "Repr-Digest"),
        _listed(head, "Digest", "="),
        _listed(head, "OC-Checksum", ":"),
        _listed(head, "X-Checksum", ":"),
        _listed(head, "X-Goog-Hash", "="),
        *(
            _single(head, f"{prefix}{name}", algorithm)
            for prefix in ("X-Checksum-", "X-Amz-Checksum-")
            for name, algorithm in (
                ("SHA256", "sha-256"),
                ("SHA512", "sha-512"),
                ("SHA1", "sha"),
                ("MD5", "md5"),
            )
        ),
    )
    for field in _NOT_CHECKED:
        if head.header(field) and not found:
            raise _unreadable(field)
    return found


def agreed(*said: Digests) -> dict[str, bytes]:
    """All of them together. Raises ProblemError when two say different things of one algorithm."""
    together: dict[str, bytes] = {}
    for digests in said:
        for algorithm, digest in digests.items():
            if together.setdefault(algorithm, digest) != digest:
                raise ProblemError(
                    "digest-mismatch",
                    f"the request says two different {algorithm} digests of the same bytes",
                )
    return together


def read_digest(text: str, algorithm: str) -> bytes | None:
    """A digest in hex or Base64, whichever its length tells; None when it is neither."""
    size = SIZES[algorithm]
    try:
        found = (
            bytes.fromhex(text) if len(text) == 2 * size else base64.b64decode(text, validate=True)
        )
    except (binascii.Error, ValueError):
        return None
    return found if len(found) == size else None


def algorithm_named(name: str) -> str | None:
    """The registered name of an algorithm that can be computed here, however it is spelled."""
    plain = name.strip().lower()
    plain = _OTHER_NAMES.get(plain, plain)
    return plain if plain in SIZES else None


def _structured(head: Head, field: str) -> Digests:
    """A dictionary of byte sequences (RFC 9530, section 2). Unknown ones may stand beside known."""
    value = head.header(field)
    if not value:
        return {}
    try:
        members: Any = http_sf.parse(value.encode("latin-1"), tltype="dictionary")
    except ValueError:
        raise _unreadable(field) from None
    found: dict[str, bytes] = {}
    for algorithm, (digest, _) in members.items():
        if algorithm in SIZES:
            if not isinstance(digest, bytes) or len(digest) != SIZES[algorithm]:
                raise _unreadable(field)
            found[algorithm] = digest
    if not found:
        raise _unreadable(field)
    return found


def _listed(head: Head, field: str, between: str) -> Digests:
    """Pairs of name and value between commas, names in any case (RFC 3230, section 4.3.2)."""
    value = head.header(field)
    if not value:
        return {}
    found: dict[str, bytes] = {}
    for pair in value.split(","):
        name, _, text = pair.strip().partition(between)
        algorithm = algorithm_named(name)
        if algorithm is not None:
            digest = read_digest(text.strip().strip('"'), algorithm)
            if digest is None:
                raise _unreadable(field)
            found[algorithm] = digest
    if not found:
        raise _unreadable(field)
    return found


def _single(head: Head, field: str, algorithm: str, unless: tuple[str, ...] = ()) -> Digests:
    value = head.header(field)
    if not value or value.startswith(unless):
        return {}
    digest = read_digest(value, algorithm)
    if digest is None:
        raise _unreadable(field)
    return {algorithm: digest}


def _unreadable(field: str) -> ProblemError:
    return ProblemError(
        "malformed-request",
        f"{field} can't be read, or has no digest that is checked here: send "
        f"Repr-Digest: sha-256=:<Base64>: (RFC 9530); {', '.join(SIZES)} are checked",
    )


class CheckedBody:
    """A body whose bytes have to hash to what was announced of them."""

    def __init__(self, body: Body, announced: Digests) -> None:
        self._body = body
        self._announced = announced
        self._hashes = {
            algorithm: hashlib.new(_HASHES[algorithm], usedforsecurity=False)
            for algorithm in announced
        }

    def fill(self, buffer: memoryview) -> int:
        """See Body.fill. Raises ProblemError at the end of a body that hashes to something else."""
        filled = self._body.fill(buffer)
        for each in self._hashes.values():
            each.update(buffer[:filled])
        if filled < len(buffer):
            self._compare()
        return filled

    def _compare(self) -> None:
        for algorithm, each in self._hashes.items():
            if each.digest() != self._announced[algorithm]:
                raise ProblemError(
                    "digest-mismatch",
                    f"the bytes' {algorithm} is {each.hexdigest()}, "
                    f"{self._announced[algorithm].hex()} was announced",
                )


def checked(body: Body, announced: Digests) -> Body:
    """`body`, held to what was announced of its bytes, if anything was."""
    return CheckedBody(body, announced) if announced else body
