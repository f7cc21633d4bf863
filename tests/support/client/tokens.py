"""Upload tokens as a client holds them: it never checks who signed them."""

from __future__ import annotations

import secrets
import time
from typing import Any

from portside.tokens import SigningKey, mint_upload
from portside.wire.claims import UploadClaims

ISSUER = SigningKey.generate("lab")


def token(**changed: Any) -> str:
    """A token for one file on node s01, with some of its claims changed."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": "lab",
        "aud": "s01",
        "sub": "tester",
        "jti": secrets.token_hex(8),
        "iat": now,
        "nbf": now,
        "exp": now + 60,
        "session_deadline": now + 60,
        "file_id": secrets.token_hex(16),
        "namespace": "isos",
        "max_size": 1 << 40,
        **changed,
    }
    return mint_upload(ISSUER, UploadClaims.model_validate(claims))
