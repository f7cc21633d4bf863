"""Every kind of nginx.conf that a cluster file can lead to, without a machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import Node, StorageNode
from portside import sizing
from portside.cluster.file import Cluster, parse
from portside.quantities import GIB

_CLUSTER = """
name: test
domain: portside.test
nodes: {s01: {}, c01: {}, b01: {roles: [storage, control]}}
control: {database: 'postgresql://portside@db.portside.test/portside'}
"""
CLUSTERS: Mapping[str, str] = {
    "lab": "cors: {origins: ['https://app.portside.test']}\n",
    "files": """
tls: {mode: files, directory: certificates, hsts: {max_age: 365d, include_subdomains: true}}
uploads: {private: [contracts, secret]}
namespaces: {images: {max_age: 1d}, live: {max_age: 0}}
cors: {origins: ['https://app.portside.test', 'https://*.preview.test', 'null']}
limits: {requests_per_address: 60, control_requests_per_address: 60}
monitoring: {allow: [192.0.2.17, '2001:db8:77::/48']}
""",
    "acme": "tls: {mode: acme, email: ops@portside.test}\ncors: {origins: ['*']}\n",
}


def variants() -> Iterator[tuple[str, str]]:
    """The name and the text of each: storage, control plane or both, by what the cluster says."""
    for name, said in CLUSTERS.items():
        cluster = parse(_CLUSTER + said)
        for node_id in cluster.nodes:
            for ipv6 in (False, True):
                text = configuration(_node(cluster, node_id, ipv6))
                yield f"{name}-{node_id}-{'ipv6' if ipv6 else 'ipv4'}", text


def _node(cluster: Cluster, node_id: str, ipv6: bool) -> Node:
    machine = sizing.Machine(ram=1 * GIB, cores=2, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, ipv6, 22, 65536, frozenset(), frozenset(), True)
    kind = StorageNode if "storage" in cluster.roles_of(node_id) else Node
    return kind(node_id, cluster, found, sizing.size(machine), "root")
