"""Keys: those that signatures are checked with, as JSON Web Keys (RFC 7517 and RFC 8037), and what
operators are told of apps' API keys and of the tokens that they have revoked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import Field

from portside import base64url
from portside.wire.base import Message, Request
from portside.wire.bounds import MOST_LISTED, MOST_NODES, Amount, Label, Moment, Name, Text, Token
from portside.wire.fields import TokenId

MOST_REVOCATIONS = 10_000
"""Tokens that operators have revoked at a time: who has more to revoke needs a new issuer's key."""

MOST_KEYS = 16
"""Of a node beside the one that signs: the next, and those that were rotated out."""

LONGEST_UNKNOWN = 366 * 86400
"""Seconds for which a token is revoked of which nothing but its id is known."""

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

    def known(self, kid: str) -> PublicKey | None:
        """The key with this id, also before and after its time."""
        return next((k for k in self.keys if k.kid == kid), None)

    def without(self, owners: Container[str]) -> Keyset:
        """The keys that none of these own: an issuer's are those that are no node's."""
        return Keyset(keys=tuple(key for key in self.keys if key.owner not in owners))


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


class RevocationRequest(Request):
    """A token is to count no more: `POST /api/v1/revocations`. Either it or its id is given."""

    also_called: ClassVar[Mapping[str, str]] = {"jti": "token_id"}

    token: Token | None = None
    token_id: TokenId | None = Field(
        default=None, description="A token's 'jti': 8 to 128 letters, digits and . _ ~ -"
    )
    expires_at: Moment | None = None
    """When a token of which only the id is given ends by itself; a year from now without it."""
    reason: Annotated[Text, Field(max_length=500)] = ""


class RevokedView(Message):
    """A token that an operator has revoked."""

    token_id: Name
    kind: Label | None
    """Its `typ`; None where only its id was told."""
    node_id: Label | None
    """Whom it was for, as far as that is known."""
    reason: Text
    revoked_by: Label
    """The app whose API key it was revoked with."""
    revoked_at: Moment
    expires_at: Moment
    """When it would have ended by itself; until then nodes are told."""


class RevokedViews(Message):
    """Every token that is revoked and would count otherwise: `GET /api/v1/revocations`."""

    revoked: tuple[RevokedView, ...] = Field(max_length=MOST_REVOCATIONS, fail_fast=True)
