"""Bytes as text for URLs and tokens: base64url without padding (RFC 4648, section 5)."""

from __future__ import annotations

import base64
import binascii


def encode(data: bytes) -> str:
    """`data` as base64url without `=` at its end."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """What `encode` was given. Raises ValueError."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(f"no base64url: {error}") from None
