"""POST an alert's message, signed as a node's hooks are: `Portside-Signature`, a `hook+jwt`.

The issuer's key signs it, the origin is its audience, and the body's digest is in it
(`portside.tokens.verify_hook` is what a receiver does). Without an issuer's key nothing is signed.
"""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError

from portside.tokens import SigningKey, mint_hook
from portside.wire.alerts import AlertMessage
from portside.wire.hooks import HookClaims, origin_of

PATIENCE = 10.0
"""Seconds to connect, and again to the answer's head. Only the courier waits for it."""

GONE = 410


class NotDelivered(Exception):
    """A message didn't arrive; the message says why, and has no secret in it."""


class NotWanted(Exception):
    """Nobody wants it there any more (410): trying again is of no use."""


def post(url: str, message: AlertMessage, key: SigningKey | None) -> None:
    """Have it taken with a 2xx. Raises NotDelivered, NotWanted.

    What people see names scheme, host and port alone: chat services have a secret in the path.
    """
    body, origin = message.model_dump_json().encode(), origin_of(url)
    headers = {"Content-Type": "application/json", "User-Agent": "portside-control"}
    if key is not None:
        claims = HookClaims(
            iss=key.owner,
            aud=origin,
            iat=int(datetime.now(UTC).timestamp()),
            jti=message.delivery_id,
            sha256=hashlib.sha256(body).hexdigest(),
        )
        headers["Portside-Signature"] = mint_hook(key, claims)
    # Receivers are strangers: known by the authorities of the system, not by the cluster's own.
    with urllib3.PoolManager(
        retries=False,
        timeout=urllib3.Timeout(connect=PATIENCE, read=PATIENCE),
        ssl_context=ssl.create_default_context(),
    ) as pool:
        try:
            answer = pool.request(
                "POST", url, body=body, headers=headers, redirect=False, preload_content=False
            )
            status = answer.status
            answer.close()
        except NewConnectionError as error:
            raise NotDelivered(f"{origin}: {str(error).rpartition(': ')[2]}") from None
        except HTTPError as error:
            raise NotDelivered(f"{origin}: {type(error).__name__}") from None
    if status == GONE:
        raise NotWanted(f"{origin}: answered with {status}")
    if not 200 <= status < 300:
        raise NotDelivered(f"{origin}: answered with {status}")
