"""What proves that a file was to be deleted: an issuer's token, kept with the tombstone.

A node's own word isn't enough to delete what others hold: its key would be the cluster's. So the
`access+jwt` that a deletion was asked with stays with what is left of the file, and travels with
every word of the deletion. It was checked when it came; whoever hears of it later judges it by the
moment of the deletion, for nodes may have been away for weeks.
"""

from __future__ import annotations

from datetime import datetime

from portside.tokens import LEEWAY, SigningKey, TokenRefused, mint_access, verify_access
from portside.wire.claims import AccessClaims
from portside.wire.keys import Keyset

_LIFE = 10 * 365 * 86400
"""Seconds: the order is for one file, which is to go whenever its node is there again."""


def mint_order(key: SigningKey, node_id: str, file_id: str, now: datetime) -> str:
    """The control plane's order to one node, for one file."""
    moment = int(now.timestamp())
    return mint_access(
        key,
        AccessClaims(
            iss=key.owner,
            aud=node_id,
            sub=key.owner,
            iat=moment,
            nbf=moment - LEEWAY,
            exp=moment + _LIFE,
            rights=("delete",),
            file_id=file_id,
        ),
    )


def verify_order(
    order: str,
    issuers: Keyset,
    node_id: str,
    file_id: str,
    namespace: str,
    owner: str | None,
    committed_at: datetime | None,
    deleted_at: datetime,
) -> None:
    """Raise TokenRefused unless this token let `node_id` delete this file at that moment.

    `owner` is None where nobody knows yet whose the file is. A token that had ended before the
    file was there never was for it, whatever the node says of the time.
    """
    claims = verify_access(order, issuers, node_id, deleted_at)
    if "delete" not in claims.rights:
        raise TokenRefused("token-claims", "the token doesn't give the right 'delete'")
    if (
        claims.namespace not in (None, namespace)
        or claims.file_id not in (None, file_id)
        or (owner is not None and claims.owner not in (None, owner))
    ):
        raise TokenRefused("token-claims", "the token is not for this file")
    if committed_at is not None and committed_at.timestamp() >= claims.exp + LEEWAY:
        raise TokenRefused("token-expired", "the token had ended before the file was there")
