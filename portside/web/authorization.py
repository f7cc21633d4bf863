"""The Authorization header."""

from __future__ import annotations


def bearer(authorization: str | None) -> str | None:
    """The token of an Authorization header, None where it has none (RFC 6750, section 2.1)."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None
