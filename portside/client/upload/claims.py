"""Minting an upload's claims from a cluster file: what `portside token mint` and `put` share."""

from __future__ import annotations

import secrets
import time
import uuid
from dataclasses import dataclass

from pydantic import ValidationError

from portside.cluster.file import Cluster
from portside.wire.claims import Quota, UploadClaims
from portside.wire.fields import Layout
from portside.wire.problem import in_words

DEFAULT_NAMESPACE = "files"
DEFAULT_VALID = 15 * 60
"""Seconds in which an upload may start; how long it may then take is another limit."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What an upload should be; either `size` (exact) or `max_size`, in bytes."""

    node_id: str
    owner: str
    name: str | None = None
    size: int | None = None
    max_size: int | None = None
    namespace: str = DEFAULT_NAMESPACE
    layout: Layout = "dated"
    sha256: str | None = None
    valid: int = DEFAULT_VALID
    expires_in: int | None = None
    quota: int | None = None
    """Bytes that the owner may have on the node in all, this file included."""
    quota_files: int | None = None
    """The same in files."""


def claims_for(cluster: Cluster, issuer: str, wish: Wish) -> UploadClaims:
    """The claims that allow `wish` on one of the cluster's storage nodes, starting now.

    Raises ValueError, in words for people, for what no node would take.
    """
    storage = cluster.with_role("storage")
    if wish.node_id not in storage:
        raise ValueError(
            f"{wish.node_id!r} is no storage node of cluster {cluster.name!r}: it has "
            f"{', '.join(storage) or 'none'}"
        )
    now = int(time.time())
    try:
        return UploadClaims(
            iss=issuer,
            aud=wish.node_id,
            sub=wish.owner,
            jti=secrets.token_urlsafe(16),
            iat=now,
            nbf=now,
            exp=now + wish.valid,
            session_deadline=now + max(wish.valid, cluster.uploads.session_deadline),
            file_id=uuid.uuid4().hex,
            namespace=wish.namespace,
            name=wish.name,
            layout=wish.layout,
            size=wish.size,
            max_size=wish.max_size,
            sha256=wish.sha256,
            ack=cluster.replication.ack,
            expires_in=wish.expires_in,
            quota=_quota(wish),
        )
    except ValidationError as error:
        raise ValueError(in_words(error)) from None


def _quota(wish: Wish) -> Quota | None:
    if wish.quota is None and wish.quota_files is None:
        return None
    try:
        return Quota(bytes=wish.quota, files=wish.quota_files)
    except ValidationError as error:
        raise ValueError(f"quota: {in_words(error)}") from None
