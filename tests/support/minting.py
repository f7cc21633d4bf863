"""Claims and forged tokens of uploads for tests, in one place."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from portside.quantities import GIB
from portside.wire.claims import AccessClaims, DownloadClaims, UploadClaims


def upload_claims(issuer: str, node_id: str, changed: Mapping[str, Any]) -> UploadClaims:
    """Claims that allow up to 1 GiB for 15 minutes, with `changed` in place of some."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": node_id,
        "sub": "user-7",
        "jti": secrets.token_hex(16),
        "iat": now,
        "nbf": now,
        "exp": now + 900,
        "session_deadline": now + 7200,
        "file_id": secrets.token_hex(16),
        "max_size": None if "size" in changed else 1 * GIB,
    }
    return UploadClaims.model_validate({**claims, **changed})


def unsigned(claims: UploadClaims, kid: str) -> str:
    """A token that names no algorithm and carries no signature (RFC 8725, section 2.1)."""

    def part(data: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()

    header = {"alg": "none", "typ": "upload+jwt", "kid": kid}
    return f"{part(header)}.{part(claims.model_dump(mode='json', exclude_none=True))}."


def access_claims(issuer: str, node_id: str, changed: Mapping[str, Any]) -> AccessClaims:
    """Claims that allow an app to list files for 15 minutes, with `changed` in place of some."""
    claims = {**_times(issuer, node_id), "sub": "app", "rights": ("list",)}
    return AccessClaims.model_validate({**claims, **changed})


def download_claims(issuer: str, node_id: str, changed: Mapping[str, Any]) -> DownloadClaims:
    """Claims that allow a download for 15 minutes; `changed` has its path."""
    return DownloadClaims.model_validate({**_times(issuer, node_id), **changed})


def _times(issuer: str, node_id: str) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": issuer, "aud": node_id, "iat": now, "nbf": now, "exp": now + 900}
