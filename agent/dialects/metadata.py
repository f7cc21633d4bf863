"""Upload-Metadata: what a tus client tells of a file (tus, creation extension)."""

from __future__ import annotations

from collections.abc import Mapping

from agent.dialects.binary_values import decode_base64
from agent.problems import ProblemError

MOST_METADATA = 8000
"""Bytes of Upload-Metadata: nginx and gunicorn take header lines of 8 KiB, its name included."""

_NAMES = ("filename", "name")
"""Keys that hold a file's name, the first one first: tus-js-client's and Uppy's."""


def parse_metadata(value: str) -> dict[str, bytes]:
    """Upload-Metadata: keys with values in Base64, between commas (tus, creation extension).

    A value is any bytes and may be left out, with the space or without it.
    """
    if len(value) > MOST_METADATA:
        raise ProblemError(
            "malformed-request",
            f"Upload-Metadata is longer than {MOST_METADATA} bytes: send fewer keys, or less in "
            "them; the file's name is all that is needed",
        )
    found: dict[str, bytes] = {}
    for pair in filter(None, (pair.strip() for pair in value.split(","))):
        key, _, encoded = pair.partition(" ")
        if not key.isascii() or not key.isprintable():
            raise ProblemError("malformed-request", "Upload-Metadata: keys are printable ASCII")
        if key in found:
            raise ProblemError("malformed-request", f"Upload-Metadata has {key!r} twice: once each")
        try:
            found[key] = decode_base64(encoded)
        except ValueError:
            raise ProblemError(
                "malformed-request", f"Upload-Metadata: the value of {key!r} is no Base64"
            ) from None
    return found


def name_in(metadata: Mapping[str, bytes]) -> str | None:
    """The file's name, if the metadata have one that can be read.

    In another charset than UTF-8 it is none: where a token names the file nobody asks for it.
    """
    # TUSKit's first releases say fileName. What stands as it should goes before that.
    loose = {key.lower(): value for key, value in metadata.items()}
    for key in _NAMES:
        if name := metadata.get(key) or loose.get(key):
            try:
                return name.decode()
            except UnicodeDecodeError:
                continue
    return None
