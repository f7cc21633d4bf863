"""What proves that an issuer wanted files adopted that lay on a node already.

An upload's token is for one file. Nobody can mint one for each of a million files that only the
node has seen; so an order for adoption is for a node, a namespace, an owner and a time. It is kept
with each adopted file, as an upload's token is, and bears the node's word out: to the control
plane, and to other nodes that copies are brought to where there is none. Whoever steals the node
can lay files into that namespace in that owner's name, and nowhere else; what bytes these are is
the node's word, as with an upload whose token names no digest. Pure.
"""

from __future__ import annotations

from datetime import datetime

from portside.tokens import LEEWAY, TokenRefused, verify_adoption
from portside.wire.claims import AdoptionClaims
from portside.wire.keys import Keyset

LONGEST = 30 * 86400
"""Seconds for which an order is minted at most: to read 100 TB at 64 MB/s takes 18 days."""


def verify_adopted(
    order: str,
    issuers: Keyset,
    node_id: str,
    committed_at: datetime,
    now: datetime | None = None,
) -> AdoptionClaims:
    """What this order allowed `node_id` at the moment of a file's commit. Raises TokenRefused.

    That it has ended since is of no matter: the file is there.
    """
    claims = verify_adoption(order, issuers, node_id, now, late=True)
    moment = committed_at.timestamp()
    if not claims.nbf - LEEWAY <= moment < claims.exp + LEEWAY:
        raise TokenRefused("token-claims", "it is for another time than that of the file's commit")
    return claims
