"""What a Prometheus asks of a cluster, and where: pure, read off the cluster file.

Everything comes by HTTPS through a node's nginx, which lets in the monitoring node and
`monitoring.allow` alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from portside.cluster.file import Cluster

AGENT_JOB, CONTROL_JOB, NODE_JOB = "portside-agent", "portside-control", "node"
"""The label `job` of each kind of target: rules and boards go by it."""

METRICS = "/metrics"
NODE_METRICS = "/metrics/node"
"""Of node_exporter, which itself listens on the node's loopback alone."""


@dataclass(frozen=True, slots=True)
class Target:
    """One address to ask. `node_id` is the label `node`, `host` the name in its certificate."""

    job: str
    node_id: str
    host: str
    port: int
    path: str


def targets(cluster: Cluster) -> tuple[Target, ...]:
    """Every agent, control plane and node_exporter, in the cluster file's order."""
    found = [each for node_id in cluster.nodes for each in _of(cluster, node_id)]
    jobs = (AGENT_JOB, CONTROL_JOB, NODE_JOB)
    return tuple(sorted(found, key=lambda target: jobs.index(target.job)))


def monitoring_node(cluster: Cluster) -> str | None:
    """Where Prometheus runs; None: nowhere in this cluster."""
    if not cluster.monitoring.prometheus:
        return None
    return cluster.monitoring.node or next(iter(cluster.with_role("control")), None)


def _of(cluster: Cluster, node_id: str) -> Iterator[Target]:
    host, roles = cluster.host(node_id), cluster.roles_of(node_id)
    if "storage" in roles:
        yield Target(AGENT_JOB, node_id, host, 443, METRICS)
    if "control" in roles:
        yield Target(CONTROL_JOB, node_id, host, cluster.control_port(node_id), METRICS)
    if cluster.monitoring.prometheus:
        yield Target(NODE_JOB, node_id, host, 443, NODE_METRICS)


def groups(
    cluster: Cluster, here: str | None
) -> list[tuple[tuple[str, str, str | None], list[Target]]]:
    """Targets by what they are asked alike: job, path and, for those of the node `here`, its name.

    A Prometheus asks its own node at its loopback; what the certificate names is said once a job.
    """

    def alike(target: Target) -> tuple[str, str, str | None]:
        return target.job, target.path, target.host if target.node_id == here else None

    found: dict[tuple[str, str, str | None], list[Target]] = {}
    for target in targets(cluster):
        found.setdefault(alike(target), []).append(target)
    return list(found.items())
