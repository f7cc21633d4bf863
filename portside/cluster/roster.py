"""Who belongs to a cluster, as a roster: made from the cluster file and renewed. Pure.

A deploy decides who is in it and with which key, URLs, region, weight and tier; the control plane
decides each node's state. Either gives what it changes a higher version, and where nothing but the
version would differ the older one stays: a second deploy changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from portside.wire.heartbeat import Roster, RosterNode
from portside.wire.keys import PublicKey

if TYPE_CHECKING:
    # Cluster files are read on the operator's machine: the control plane has no YAML.
    from portside.cluster.file import Cluster


def build(
    cluster: Cluster,
    keys: Mapping[str, PublicKey],
    version: int = 0,
    other_keys: Mapping[str, tuple[PublicKey, ...]] = MappingProxyType({}),
) -> Roster:
    """The cluster file's storage nodes as a roster, with their public keys by node id.

    `other_keys` count beside them, while keys are replaced and after that.

    A node whose key isn't known yet is left out: nobody could believe what it signs.
    """
    return Roster(
        version=version,
        cluster=cluster.name,
        control_url=cluster.control_url,
        factor=cluster.replication.factor,
        nodes=tuple(
            RosterNode(
                node_id=node_id,
                public_base_url=cluster.public_base_url(node_id),
                upload_api_url=cluster.upload_api_url(node_id),
                region=cluster.nodes[node_id].region,
                weight=cluster.nodes[node_id].weight,
                tier=cluster.nodes[node_id].tier,
                key=keys[node_id],
                other_keys=other_keys.get(node_id, ()),
            )
            for node_id in cluster.with_role("storage")
            if node_id in keys
        ),
    )


def renew(previous: Roster | None, wanted: Roster, now: datetime) -> Roster:
    """`wanted` with a version above that of `previous`; `previous` itself if it says the same."""
    if previous is None:
        return wanted.model_copy(update={"version": next_version(0, now)})
    if wanted.model_copy(update={"version": previous.version}) == previous:
        return previous
    return wanted.model_copy(update={"version": next_version(previous.version, now)})


def next_version(after: int, now: datetime) -> int:
    """Unix seconds, and always above `after`: a clock that was set back makes no older roster."""
    return max(int(now.timestamp()), after + 1)
