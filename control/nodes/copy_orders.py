"""Orders for copies: the control plane's word, to their target, that a file is to come there.

A target takes no new file by its source's word alone (`portside.orders.copies`). Minted anew each
time a lease is told, for its source, its target and the catalogue's content.
"""

from __future__ import annotations

from datetime import datetime

from control.catalogue.inventory import UNKNOWN_OWNER
from control.db.models import File
from portside.tokens import LEEWAY, LONGEST, SigningKey, mint_copy_order
from portside.wire.claims import CopyOrderClaims
from portside.wire.heartbeat import Lease


def copy_order(
    key: SigningKey, lease: Lease, node_id: str, file: File, now: datetime, *, scan: bool
) -> str:
    """What node `node_id` shows to its lease's target. `scan`: scanners alone hold the file."""
    assert lease.target is not None  # noqa: S101 (it is a copy's)
    moment = int(now.timestamp())
    return mint_copy_order(
        key,
        CopyOrderClaims(
            iss=key.owner,
            aud=lease.target,
            sub=node_id,
            iat=moment,
            nbf=moment - LEEWAY,
            # The attempts of a push take about a day, and a large file over a bad line some more.
            exp=moment + LONGEST,
            file_id=file.file_id,
            path=lease.path,
            size=lease.size,
            sha256=lease.sha256,
            namespace=file.namespace,
            owner=None if file.owner == UNKNOWN_OWNER else file.owner,
            name=file.name,
            content_type=file.content_type,
            app=file.app_id,
            held=file.held,
            scan=scan,
            expires_at=None if file.expires_at is None else int(file.expires_at.timestamp()),
        ),
    )
