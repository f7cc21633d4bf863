"""Binary values in tus's headers, in any of the ways that clients write Base64 (RFC 4648)."""

from __future__ import annotations

import base64
import binascii


def decode_base64(text: str) -> bytes:
    """The bytes that a value in Base64 stands for. Raises ValueError for what is none.

    The alphabet for URLs and a value without its padding stand for the same bytes as the form that
    tus asks for (RFC 4648, sections 3.2 and 5).
    """
    digits = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
