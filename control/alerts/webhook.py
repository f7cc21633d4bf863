"""POST an alert's message, signed as a node's hooks are: `Portside-Signature`, a `hook+jwt`.

The issuer's key signs it, the origin is its audience, and the body's digest is in it
(`portside.tokens.verify_hook` is what a receiver does). Without an issuer's key nothing is signed.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from control.alerts.deadline import DEADLINE, cut_off
from portside.alerting.message import AlertMessage
from portside.tokens import SigningKey, mint_hook
from portside.wire.hooks import HookClaims, origin_of

PATIENCE = 10.0
"""Seconds to connect, and again to the answer's head. Only the courier waits for it."""

GONE = 410


class NotDelivered(Exception):
    """A message didn't arrive; the message says why, and has no secret in it."""


class NotWanted(Exception):
    """Nobody wants it there any more (410): trying again is of no use."""


def post(
    url: str, message: AlertMessage, key: SigningKey | None, deadline: float = DEADLINE
) -> None:
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
    status = _status(url, body, headers, deadline)
    if status == GONE:
        raise NotWanted(f"{origin}: answered with {status}")
    if not 200 <= status < 300:
        raise NotDelivered(f"{origin}: answered with {status}")


def _status(url: str, body: bytes, headers: Mapping[str, str], deadline: float) -> int:
    """That of the answer, of which nothing else is read. Raises NotDelivered."""
    parts, origin = urlsplit(url), origin_of(url)
    host = parts.hostname or ""
    # Receivers are strangers: known by the authorities of the system, not by the cluster's own.
    connection = (
        HTTPSConnection(host, parts.port, timeout=PATIENCE, context=ssl.create_default_context())
        if parts.scheme == "https"
        else HTTPConnection(host, parts.port, timeout=PATIENCE)
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
        with cut_off(lambda: connection.sock, deadline):
            connection.request("POST", target, body=body, headers=dict(headers))
            return connection.getresponse().status
    except (OSError, HTTPException, UnicodeError) as error:
        # UnicodeError: a name that can't be one (socket.getaddrinfo encodes it as IDNA).
        raise NotDelivered(f"{origin}: {str(error) or type(error).__name__}"[:300]) from None
    finally:
        connection.close()
