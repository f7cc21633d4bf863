"""Keys: those that signatures are checked with, as JSON Web Keys (RFC 7517 and RFC 8037), and what
operators are told of apps' API keys.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from portside import base64url
from portside.wire.base import Message, Request
from portside.wire.bounds import MOST_LISTED, MOST_NODES, Amount, Label, Moment, Name

LONGEST_OVERLAP = 366 * 86400
"""Seconds for which an app's old key may count beside its new one: longer is no rotation."""


class PublicKey(Message):
    """A verification key as a JWK (RFC 8037) with who owns it and when it may be used (UTC)."""

    # Members of a JWK that aren't known here are passed over (RFC 7517, section 4).
    kid: Name
    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    x: Name
    owner: Label
    not_before: Moment | None = None
    not_after: Moment | None = None

    def valid_at(self, moment: datetime) -> bool:
        """Whether signatures of this key count at `moment`."""
        return (self.not_before is None or self.not_before <= moment) and (
            self.not_after is None or moment < self.not_after
        )

    def verifier(self) -> Ed25519PublicKey:
        """The key itself. Raises ValueError when `x` is no Ed25519 public key."""
        return Ed25519PublicKey.from_public_bytes(base64url.decode(self.x))


class Keyset(Message):
    """Every public key a verifier trusts: `/etc/portside/keyset.json`, a JWK set (RFC 7517)."""

    keys: tuple[PublicKey, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)

    def find(self, kid: str, moment: datetime) -> PublicKey | None:
        """The trusted key with this id if it is valid at `moment`, else None."""
        return next((k for k in self.keys if k.kid == kid and k.valid_at(moment)), None)


def thumbprint(x: str) -> str:
    """The key id of an Ed25519 public key: its JWK thumbprint (RFC 7638), 22 characters of it."""
    canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return base64url.encode(hashlib.sha256(canonical.encode()).digest())[:22]


class KeyRequest(Request):
    """An app is to have a second API key: `POST /api/v1/apps/<id>/keys`."""

    old_for: Annotated[Amount, Field(le=LONGEST_OVERLAP)] | None = None
    """Seconds for which the key before counts yet; None: until it is ended."""


class KeyView(Message):
    """An API key, as anybody may see it."""

    key_id: Label
    created_at: Moment
    ends_at: Moment | None
    """From when it counts no more; None: until it is ended."""
    last_used_at: Moment | None
    """To the hour; None: never since this is noted."""


class AppView(Message):
    """An app and its keys that count."""

    app_id: Label
    scopes: tuple[Label, ...] = Field(max_length=16, fail_fast=True)
    namespaces: tuple[Label, ...] | None = Field(max_length=MOST_LISTED, fail_fast=True)
    """Those that its keys are bound to; None: they aren't."""
    created_at: Moment
    revoked_at: Moment | None
    keys: tuple[KeyView, ...] = Field(max_length=16, fail_fast=True)


class AppViews(Message):
    """Every app: `GET /api/v1/apps`."""

    apps: tuple[AppView, ...] = Field(max_length=MOST_LISTED, fail_fast=True)


class NewKeyView(Message):
    """A key that was made, told this once."""

    app_id: Label
    key_id: Label
    key: Name
    """The secret itself."""
    old_ends_at: Moment | None
    """When the app's other key ends; None: when it is ended, or there is none."""
