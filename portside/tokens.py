"""Signed tokens: compact JWS with Ed25519, minted by issuers and nodes, verified everywhere.

Nodes hold public keys only: a stolen node can't mint an upload. Verifying pins the algorithm, the
`typ` header and the audience (RFC 8725, sections 3.1, 3.9 and 3.11); each kind of token has a
`typ` of its own, so that none can pass for another.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import BaseModel, ValidationError

from portside import base64url
from portside.wire.claims import (
    AccessClaims,
    AdoptionClaims,
    CopyOrderClaims,
    DownloadClaims,
    HeartbeatClaims,
    ReceiptClaims,
    ReplicateClaims,
    UploadClaims,
)
from portside.wire.hooks import HookClaims
from portside.wire.keys import Keyset, PublicKey, thumbprint
from portside.wire.problem import in_words

ALGORITHM = "EdDSA"
UPLOAD_TYPE = "upload+jwt"
DOWNLOAD_TYPE = "download+jwt"
ACCESS_TYPE = "access+jwt"
RECEIPT_TYPE = "receipt+jwt"
HOOK_TYPE = "hook+jwt"
HEARTBEAT_TYPE = "heartbeat+jwt"
REPLICATE_TYPE = "replicate+jwt"
ORDER_TYPE = "order+jwt"
ADOPTION_TYPE = "adoption+jwt"
RECEIPT_AUDIENCE = "uploader"
HEARTBEAT_AUDIENCE = "control"
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""A compact JWS (RFC 7515, section 7.1). Decoders that skip other characters would take more."""

RESUMABLE = 86400
"""Seconds past `exp` for which a download that broke off may go on: 64 GiB at 6 Mbit/s."""

LONGEST = 7 * 86400
"""Seconds for which the control plane signs an order for a copy or a URL, at most: so long a key
that has been replaced must count."""

LEEWAY = 60
"""Seconds by which two clocks of a cluster may differ, wherever a moment of another machine's is
compared with one's own. A node that is further off gets no new files (`Signs.clock_skew`)."""

HOOK_AGE = 300
"""Seconds for which a webhook's signature counts: each attempt is signed anew."""

HOOK_HEADER = "Portside-Signature"

Refusal = Literal[
    "token-malformed",
    "token-algorithm",
    "token-type",
    "token-unknown-key",
    "token-signature",
    "token-expired",
    "token-not-yet-valid",
    "token-wrong-node",
    "token-claims",
]


_Claims = TypeVar("_Claims", bound=BaseModel)


class TokenRefused(Exception):
    """A token that doesn't verify; `code` is for programs, the message for people."""

    def __init__(self, code: Refusal, message: str) -> None:
        super().__init__(message)
        self.code: Refusal = code


class SigningKey:
    """A private key and its owner (an issuer's name or a node's id)."""

    def __init__(self, private: Ed25519PrivateKey, owner: str) -> None:
        self._private = private
        self._owner = owner
        self._x = base64url.encode(private.public_key().public_bytes_raw())
        self._kid = thumbprint(self._x)

    def __repr__(self) -> str:
        return f"SigningKey(owner={self.owner!r}, kid={self.kid!r})"

    @property
    def owner(self) -> str:
        """An issuer's name or a node's id."""
        return self._owner

    @property
    def kid(self) -> str:
        """The key's id: its thumbprint (RFC 7638)."""
        return self._kid

    @classmethod
    def generate(cls, owner: str) -> SigningKey:
        """A new key from the operating system's randomness.

        One of 64 has an id that begins with a dash, which command lines take for an option: another
        one is made then.
        """
        while (key := cls(Ed25519PrivateKey.generate(), owner)).kid.startswith("-"):
            pass
        return key

    @classmethod
    def from_json(cls, text: str) -> SigningKey:
        """Read what `to_json` wrote. Raises ValueError when it is no private key of ours."""
        try:
            data = json.loads(text)
            private = Ed25519PrivateKey.from_private_bytes(base64url.decode(data["d"]))
            return cls(private, str(data["owner"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"no private key (a JWK with 'd' and 'owner'): {error!r}") from None

    def to_json(self) -> str:
        """The private key as a JWK (RFC 8037). A secret: write it to 0600 files only."""
        secret = base64url.encode(self._private.private_bytes_raw())
        return json.dumps({**self.public().model_dump(exclude_none=True), "d": secret}) + "\n"

    def public(
        self, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> PublicKey:
        """The public half, to be put into a keyset."""
        return PublicKey(
            kid=self.kid, x=self._x, owner=self.owner, not_before=not_before, not_after=not_after
        )

    def sign(self, token_type: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS over `claims` with this key's id and `token_type` in its header."""
        return jwt.encode(
            dict(claims),
            self._private,
            algorithm=ALGORITHM,
            headers={"kid": self.kid, "typ": token_type},
        )


def mint_upload(key: SigningKey, claims: UploadClaims) -> str:
    """An `upload+jwt` that allows what `claims` say."""
    return key.sign(UPLOAD_TYPE, claims.model_dump(mode="json", exclude_none=True))


def verify_upload(
    token: str,
    keyset: Keyset,
    node_id: str,
    now: datetime | None = None,
    *,
    resuming: bool = False,
) -> UploadClaims:
    """The claims of an upload token meant for `node_id`.

    Raises TokenRefused with the one thing that is wrong. Where an upload starts, `exp` counts;
    where one that has begun goes on (`resuming`), `session_deadline` does.
    """
    moment = now or datetime.now(UTC)
    claims = _parsed(UploadClaims, _verified_payload(token, UPLOAD_TYPE, keyset, moment))
    ends = max(claims.exp, claims.session_deadline) if resuming else claims.exp
    _check_place_and_time(claims.aud, node_id, claims.nbf, ends, moment)
    return claims


def verify_uploaded(
    token: str, keyset: Keyset, node_id: str | None, now: datetime | None = None
) -> UploadClaims:
    """What an upload token allowed `node_id`, or whichever node, also after its time and its
    key's. Raises TokenRefused.
    """
    moment = now or datetime.now(UTC)
    payload = _verified_payload(token, UPLOAD_TYPE, keyset, moment, late=True)
    claims = _parsed(UploadClaims, payload)
    if node_id is not None and claims.aud != node_id:
        raise TokenRefused(
            "token-wrong-node", f"the token was for node {claims.aud!r}, not {node_id!r}"
        )
    return claims


def mint_download(key: SigningKey, claims: DownloadClaims) -> str:
    """A `download+jwt`, to be put behind `?token=` in the file's URL."""
    return key.sign(DOWNLOAD_TYPE, claims.model_dump(mode="json", exclude_none=True))


def verify_download(
    token: str,
    keyset: Keyset,
    node_id: str,
    now: datetime | None = None,
    *,
    resuming: bool = False,
) -> DownloadClaims:
    """The claims of a download token meant for `node_id`.

    Raises TokenRefused. `exp` is when a download has to have begun: one that goes on (`resuming`)
    may for RESUMABLE seconds more.
    """
    moment = now or datetime.now(UTC)
    claims = _parsed(DownloadClaims, _verified_payload(token, DOWNLOAD_TYPE, keyset, moment))
    ends = claims.exp + RESUMABLE if resuming else claims.exp
    _check_place_and_time(claims.aud, node_id, claims.nbf, ends, moment)
    return claims


def mint_access(key: SigningKey, claims: AccessClaims) -> str:
    """An `access+jwt`: the right to list, read, verify or delete files on a node."""
    return key.sign(ACCESS_TYPE, claims.model_dump(mode="json", exclude_none=True))


def verify_access(
    token: str, keyset: Keyset, node_id: str, now: datetime | None = None
) -> AccessClaims:
    """The claims of an access token meant for `node_id`. Raises TokenRefused."""
    moment = now or datetime.now(UTC)
    claims = _parsed(AccessClaims, _verified_payload(token, ACCESS_TYPE, keyset, moment))
    _check_place_and_time(claims.aud, node_id, claims.nbf, claims.exp, moment)
    return claims


def _check_place_and_time(
    audience: str, node_id: str, not_before: int, expires: int, moment: datetime
) -> None:
    if audience != node_id:
        raise TokenRefused(
            "token-wrong-node", f"the token is for node {audience!r}, this is {node_id!r}"
        )
    unix = moment.timestamp()
    if unix >= expires + LEEWAY:
        raise TokenRefused("token-expired", "the token has expired: ask for a new one")
    if unix < not_before - LEEWAY:
        raise TokenRefused("token-not-yet-valid", "the token is not valid yet: check both clocks")


def token_id(token: str, jti: str | None) -> str:
    """What a token is revoked by: its `jti`, or the SHA-256 of what was signed.

    Not of the whole token: the last character of a signature can be written in several ways.
    """
    if jti is not None:
        return jti
    return base64url.encode(hashlib.sha256(token.rpartition(".")[0].encode()).digest())


@dataclass(frozen=True, slots=True)
class Revocable:
    """A token that can be revoked: by which id, of which `typ`, for whom, until when it counts."""

    token_id: str
    kind: str
    node_id: str
    ends: int


def revocable(token: str, keyset: Keyset, now: datetime | None = None) -> Revocable:
    """What there is to revoke of an upload, access or download token, whatever its time.

    Raises TokenRefused: one that nobody trusts needs no revoking.
    """
    moment, kind = now or datetime.now(UTC), str(unverified_header(token).get("typ"))
    if kind not in _REVOCABLE:
        raise TokenRefused(
            "token-type", f"only tokens of typ {', '.join(_REVOCABLE)} can be revoked"
        )
    payload = _verified_payload(token, kind, keyset, moment)
    claims = _parsed(_REVOCABLE[kind], payload)
    ends = claims.exp
    if isinstance(claims, UploadClaims):
        ends = max(claims.exp, claims.session_deadline)
    elif isinstance(claims, DownloadClaims):
        ends += RESUMABLE
    return Revocable(token_id(token, claims.jti), kind, claims.aud, ends)


_REVOCABLE: Mapping[str, type[UploadClaims | DownloadClaims | AccessClaims | AdoptionClaims]] = {
    UPLOAD_TYPE: UploadClaims,
    DOWNLOAD_TYPE: DownloadClaims,
    ACCESS_TYPE: AccessClaims,
    ADOPTION_TYPE: AdoptionClaims,
}


def mint_receipt(key: SigningKey, claims: ReceiptClaims) -> str:
    """A node's `receipt+jwt` for a committed file."""
    return key.sign(RECEIPT_TYPE, claims.model_dump(mode="json"))


def verify_receipt(token: str, keyset: Keyset, now: datetime | None = None) -> ReceiptClaims:
    """What a node attests to. Receipts don't expire, nor with their keys. Raises TokenRefused."""
    moment = now or datetime.now(UTC)
    payload = _verified_payload(token, RECEIPT_TYPE, keyset, moment, late=True)
    claims = _parsed(ReceiptClaims, payload)
    if claims.aud != RECEIPT_AUDIENCE:
        raise TokenRefused("token-claims", f"a receipt's audience is {RECEIPT_AUDIENCE!r}")
    return claims


def mint_hook(key: SigningKey, claims: HookClaims) -> str:
    """A node's `hook+jwt` for one attempt of a delivery: the header `Portside-Signature`."""
    return key.sign(HOOK_TYPE, claims.model_dump(mode="json"))


def verify_hook(
    token: str, keyset: Keyset, origin: str, body: bytes, now: datetime | None = None
) -> HookClaims:
    """What a webhook's receiver does with its header `Portside-Signature`. Raises TokenRefused.

    `keyset` holds the nodes' keys (`https://<node>/api/v1/system/keys`), `origin` is the receiver's
    own (`https://app.example.net`), `body` the request's as received. In any other language: let a
    JWT library check the EdDSA signature with the key that `kid` names, then compare the header's
    `typ` with `hook+jwt`, `aud` with the origin, `sha256` with the hex digest of the body, `iat`
    with the clock. `jti` is the delivery's id: one that was seen before is a repetition.
    """
    moment = now or datetime.now(UTC)
    claims = _parsed(HookClaims, _verified_payload(token, HOOK_TYPE, keyset, moment))
    if claims.aud != origin:
        raise TokenRefused("token-claims", f"sent to {claims.aud!r}, this is {origin!r}")
    if claims.sha256 != hashlib.sha256(body).hexdigest():
        raise TokenRefused("token-claims", "the body is not the one that was signed")
    age = moment.timestamp() - claims.iat
    if age >= HOOK_AGE + LEEWAY:
        raise TokenRefused("token-expired", f"it was signed {age:.0f} s ago")
    if age < -LEEWAY:
        raise TokenRefused("token-not-yet-valid", "it was signed in the future: check both clocks")
    return claims


def mint_heartbeat(key: SigningKey, claims: HeartbeatClaims) -> str:
    """A node's `heartbeat+jwt` over one heartbeat's body: the request's bearer token."""
    return key.sign(HEARTBEAT_TYPE, claims.model_dump(mode="json"))


def verify_heartbeat(
    token: str, keyset: Keyset, node_id: str, body: bytes, now: datetime | None = None
) -> HeartbeatClaims:
    """Who sent a heartbeat's body, which must be `node_id`. Raises TokenRefused.

    When it was signed isn't looked at: a node whose clock is off must be heard, too. That it is
    new is shown by what the body says (`Heartbeat.ticket`).
    """
    moment = now or datetime.now(UTC)
    claims = _parsed(HeartbeatClaims, _verified_payload(token, HEARTBEAT_TYPE, keyset, moment))
    if claims.aud != HEARTBEAT_AUDIENCE:
        raise TokenRefused("token-claims", f"a heartbeat's audience is {HEARTBEAT_AUDIENCE!r}")
    if claims.iss != node_id:
        raise TokenRefused("token-wrong-node", f"signed by {claims.iss!r}, sent for {node_id!r}")
    if claims.sha256 != hashlib.sha256(body).hexdigest():
        raise TokenRefused("token-claims", "the body is not the one that was signed")
    return claims


def mint_replicate(key: SigningKey, claims: ReplicateClaims) -> str:
    """A node's `replicate+jwt`: what it sends a copy with."""
    return key.sign(REPLICATE_TYPE, claims.model_dump(mode="json"))


def verify_replicate(
    token: str, keyset: Keyset, node_id: str, now: datetime | None = None
) -> ReplicateClaims:
    """The claims of a replicate token meant for `node_id`. Raises TokenRefused.

    That its signer is a node of this cluster is for the caller to see: `keyset` may hold others.
    """
    moment = now or datetime.now(UTC)
    claims = _parsed(ReplicateClaims, _verified_payload(token, REPLICATE_TYPE, keyset, moment))
    _check_place_and_time(claims.aud, node_id, claims.nbf, claims.exp, moment)
    return claims


def mint_copy_order(key: SigningKey, claims: CopyOrderClaims) -> str:
    """The control plane's `order+jwt` for one copy."""
    return key.sign(ORDER_TYPE, claims.model_dump(mode="json", exclude_none=True))


def verify_copy_order(
    token: str, keyset: Keyset, node_id: str, now: datetime | None = None, *, late: bool = False
) -> CopyOrderClaims:
    """The claims of an order for a copy that comes to `node_id`; `late`: that came there once.

    Raises TokenRefused.
    """
    moment = now or datetime.now(UTC)
    payload = _verified_payload(token, ORDER_TYPE, keyset, moment, late=late)
    claims = _parsed(CopyOrderClaims, payload)
    ends = max(claims.exp, int(moment.timestamp()) + 1) if late else claims.exp
    _check_place_and_time(claims.aud, node_id, claims.nbf, ends, moment)
    return claims


def mint_adoption(key: SigningKey, claims: AdoptionClaims) -> str:
    """An issuer's `adoption+jwt`: what `portside-agent adopt` is given."""
    return key.sign(ADOPTION_TYPE, claims.model_dump(mode="json", exclude_none=True))


def verify_adoption(
    token: str, keyset: Keyset, node_id: str, now: datetime | None = None, *, late: bool = False
) -> AdoptionClaims:
    """The claims of an order to adopt files on `node_id`; `late`: it was one once, whenever.

    Raises TokenRefused.
    """
    moment = now or datetime.now(UTC)
    payload = _verified_payload(token, ADOPTION_TYPE, keyset, moment, late=late)
    claims = _parsed(AdoptionClaims, payload)
    ends = max(claims.exp, int(moment.timestamp()) + 1) if late else claims.exp
    _check_place_and_time(claims.aud, node_id, claims.nbf, ends, moment)
    return claims


def _verified_payload(
    token: str, token_type: str, keyset: Keyset, moment: datetime, *, late: bool = False
) -> dict[str, Any]:
    """What a trusted key has signed, as far as the key counts at `moment`.

    `late`: what it signed while it counted is proof for good. A key that was rotated out has a
    `not_after` in the keyset; one that was stolen is taken out of it, and proves nothing.
    """
    header = unverified_header(token)
    if header.get("alg") != ALGORITHM:
        raise TokenRefused("token-algorithm", f"only {ALGORITHM} signatures are taken")
    if header.get("typ") != token_type:
        raise TokenRefused("token-type", f"this needs a token of typ {token_type!r}")
    kid = str(header.get("kid"))
    key = keyset.known(kid) if late else keyset.find(kid, moment)
    if key is None:
        raise TokenRefused("token-unknown-key", "no trusted key has this token's 'kid'")
    try:
        # Times and audience are checked by the callers: each kind of token has rules of its own.
        payload: dict[str, Any] = jwt.decode(
            token,
            key.verifier(),
            algorithms=[ALGORITHM],
            options={
                "verify_signature": True,
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise TokenRefused("token-signature", "the token's signature is wrong") from None
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenRefused("token-malformed", f"the token can't be read: {error}") from None
    if payload.get("iss") != key.owner:
        raise TokenRefused("token-claims", "'iss' is not the owner of the key that signed")
    if late and not key.valid_at(_signed_at(payload, moment)):
        raise TokenRefused("token-unknown-key", "its key had ended when it was signed")
    return payload


def _signed_at(payload: Mapping[str, Any], now: datetime) -> datetime:
    """When something was signed by its own `iat`, which lies ahead for nobody."""
    told = payload.get("iat")
    try:
        return min(datetime.fromtimestamp(float(told or 0), UTC), now)
    except (TypeError, ValueError, OverflowError, OSError):
        raise TokenRefused("token-claims", "'iat' is no moment") from None


def key_id(token: str) -> str:
    """The id of the key that a token says it is signed with; empty where it says none."""
    try:
        return str(unverified_header(token).get("kid", ""))
    except TokenRefused:
        return ""


def unverified_header(token: str) -> dict[str, Any]:
    """A token's header without trusting it. Raises TokenRefused when there is none."""
    _must_be_compact(token)
    try:
        return dict(jwt.get_unverified_header(token))
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenRefused("token-malformed", f"the token can't be read: {error}") from None


def unverified_claims(token: str) -> dict[str, Any]:
    """A token's claims without trusting them, for inspection. Raises TokenRefused."""
    _must_be_compact(token)
    try:
        return dict(jwt.decode(token, options={"verify_signature": False}))
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise TokenRefused("token-malformed", f"the token can't be read: {error}") from None


def _must_be_compact(token: str) -> None:
    if not _COMPACT.fullmatch(token):
        raise TokenRefused(
            "token-malformed", "the token can't be read: it is no header.payload.signature"
        )


def _parsed(model: type[_Claims], payload: dict[str, Any]) -> _Claims:
    try:
        return model.model_validate(payload)
    except ValidationError as error:
        raise TokenRefused("token-claims", in_words(error)) from None
