"""Upload-Metadata: what a tus client tells of a file (tus, creation extension)."""

from __future__ import annotations

import base64
import binascii

from agent.problems import ProblemError

MOST_METADATA = 2048
"""Bytes of Upload-Metadata that are kept: they have to fit into a file's attributes."""


def parse_metadata(value: str) -> dict[str, str]:
    """Upload-Metadata: keys with values in Base64, between commas (tus, creation extension)."""
    if len(value) > MOST_METADATA:
        raise ProblemError(
            "malformed-request", f"Upload-Metadata is longer than {MOST_METADATA} bytes"
        )
    found: dict[str, str] = {}
    for pair in value.split(",") if value else ():
        key, _, encoded = pair.strip().partition(" ")
        if not key or not key.isascii() or not key.isprintable() or key in found:
            raise ProblemError(
                "malformed-request", "Upload-Metadata needs keys of ASCII, each once, none empty"
            )
        try:
            found[key] = base64.b64decode(encoded.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise ProblemError(
                "malformed-request", f"Upload-Metadata: the value of {key!r} is no UTF-8 in Base64"
            ) from None
    return found
