"""What monitoring wants to know of a node before it comes there, and whom the node lets in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from pyinfra.api.facts import FactBase
from pyinfra.context import host

from deploys import layout
from deploys.hosts import facts
from deploys.hosts.node import Node
from portside.cluster.monitoring import scraping

SERVER_SERVICES = (layout.PROMETHEUS_SERVICE, layout.ALERTMANAGER_SERVICE)
"""What runs on one node; node_exporter runs on all."""


@dataclass(frozen=True, slots=True)
class Watched:
    """`others` are services of monitoring that run as somebody else has set them up.

    `addresses` are those of the monitoring node's name as this node sees them; `disk` is the size
    in bytes of the filesystem on which Prometheus would keep what it measures.
    """

    others: tuple[str, ...] = ()
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    disk: int = 0


class MonitoringState(FactBase[Watched]):
    """Services of monitoring without a drop-in of ours, a name's addresses, the disk's size."""

    default = Watched

    def command(self, services: Sequence[str], host_name: str) -> str:
        looks = "; ".join(
            f"[ ! -e {dropin(service)} ] && systemctl is-active --quiet {service} && "
            f"echo runs {service}"
            for service in services
        )
        return (
            f"{looks}; "
            # By the resolver that services have: /etc/hosts counts as much as DNS.
            f"getent ahosts {facts.quoted([host_name])} | "
            "awk '{ print $1 }' | sort -u | sed 's/^/address /'; "
            f"p={layout.PROMETHEUS_DATA}; while [ ! -e $p ]; do p=$(dirname $p); done; "
            "echo disk $(df --block-size=1 --output=size $p | tail -n 1)"
        )

    def process(self, output: list[str]) -> Watched:
        words = [line.partition(" ")[::2] for line in output]
        found = [ip_address(value.partition("%")[0]) for key, value in words if key == "address"]
        sizes = [value.strip() for key, value in words if key == "disk"]
        return Watched(
            others=tuple(value for key, value in words if key == "runs"),
            addresses=tuple(each for each in found if not each.is_loopback),
            disk=next((int(size) for size in sizes if size.isdigit()), 0),
        )


def dropin(service: str) -> str:
    """What of a unit of Debian's is ours."""
    return f"{layout.UNITS}/{service}.d/portside.conf"


def watched(node: Node) -> Watched:
    """The node that pyinfra is preparing now."""
    by = scraping.monitoring_node(node.cluster)
    services = SERVER_SERVICES if by == node.node_id else ()
    found: Watched = host.get_fact(
        MonitoringState,
        services=(*services, layout.NODE_EXPORTER_SERVICE),
        host_name=node.cluster.host(by or node.node_id),
    )
    return found


def readers(node: Node) -> tuple[str, ...]:
    """Addresses by which Prometheus comes to this node: none where it runs, or nowhere does."""
    by = scraping.monitoring_node(node.cluster)
    if by in (None, node.node_id):
        return ()
    return _addresses(node, by, watched(node))


def obstacles(node: Node) -> list[str]:
    """All that is in monitoring's way on this node, a line each."""
    by = scraping.monitoring_node(node.cluster)
    if by is None:
        return []
    found = watched(node)
    problems = [
        f"{service} runs here as somebody has set it up: remove it (`apt purge "
        f"{service.removesuffix('.service')}`), or leave `monitoring.prometheus` off and give your "
        "own Prometheus what `portside monitoring scrape` prints"
        for service in found.others
    ]
    if by != node.node_id and not _addresses(node, by, found):
        problems.append(
            f"{node.cluster.host(by)}, where Prometheus runs, has no address here: mend its DNS, "
            f"or say `nodes.{by}.address` in the cluster file"
        )
    return problems


def _addresses(node: Node, by: str, found: Watched) -> tuple[str, ...]:
    return tuple(sorted({*_said(node.cluster.nodes[by].address), *map(str, found.addresses)}))


def _said(address: str | None) -> tuple[str, ...]:
    """The address that SSH connects to, if it is one and no name."""
    try:
        return (str(ip_address(address or "")),)
    except ValueError:
        return ()
