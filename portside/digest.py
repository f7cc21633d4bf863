"""Content digests: SHA-256 in hex inside Portside, `Repr-Digest` on the wire (RFC 9530)."""

from __future__ import annotations

import base64
import re

SHA256_HEX = r"^[0-9a-f]{64}$"

_FIELD = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):\s*(?=,|$)")


class DigestRefused(ValueError):
    """A digest header that names sha-256 but can't be read, or names no algorithm known here."""


def parse_repr_digest(field: str) -> str:
    """The sha-256 of a `Repr-Digest` or `Content-Digest` field as hex (RFC 9530, section 3).

    Raises DigestRefused when the field holds no readable sha-256: a digest that was sent to be
    checked must never be passed over in silence.
    """
    match = _FIELD.search(field)
    if match is None:
        raise DigestRefused("write the digest as sha-256=:<base64 of 32 bytes>: (RFC 9530)")
    return base64.b64decode(match[1]).hex()


def format_repr_digest(sha256_hex: str) -> str:
    """`sha-256=:...:` of a hex SHA-256 (RFC 9530, section 3)."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(sha256_hex)).decode()}:"
