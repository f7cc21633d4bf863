"""The keys that signatures are checked with, as JSON Web Keys (RFC 7517 and RFC 8037)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from datetime import datetime
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from portside import base64url
from portside.wire.base import Message
from portside.wire.bounds import MOST_NODES, Label, Moment, Name


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

    def without(self, owners: Container[str]) -> Keyset:
        """The keys that none of these own: an issuer's are those that are no node's."""
        return Keyset(keys=tuple(key for key in self.keys if key.owner not in owners))


def thumbprint(x: str) -> str:
    """The key id of an Ed25519 public key: its JWK thumbprint (RFC 7638), 22 characters of it."""
    canonical = json.dumps({"crv": "Ed25519", "kty": "OKP", "x": x}, separators=(",", ":"))
    return base64url.encode(hashlib.sha256(canonical.encode()).digest())[:22]
