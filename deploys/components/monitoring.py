"""Monitoring, where the cluster file asks for it: Debian's node_exporter on every node, and on one
of them Prometheus with what belongs to it (components/monitoring_server.py).

Each is a drop-in beside Debian's unit, written before the package comes: that starts its services
at once, open to the world. Off again, services and settings go; packages and data stay.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.components import monitoring_server
from deploys.hosts.monitoring import SERVER_SERVICES, dropin
from deploys.hosts.node import Node
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.reloading import runs
from deploys.operations.removal import Removal, files_gone
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside import sizing
from portside.cluster.monitoring import scraping

_EXPORTER = layout.NODE_EXPORTER_SERVICE
_SERVERS_FILES = (
    *(dropin(service) for service in SERVER_SERVICES),
    *(layout.PROMETHEUS_SETTINGS, layout.ALERT_RULES, layout.MONITORING_CA),
    *(layout.ALERTMANAGER_SETTINGS, layout.MAIL_PASSWORD, layout.WEBHOOK_TOKEN),
    *monitoring_server.GRAFANAS_FILES,
)


def _stopped(services: tuple[str, ...]) -> str:
    """Shell: services stopped for good, where they are ours."""
    return "\n".join(
        f"[ ! -e {dropin(each)} ] || systemctl disable --quiet --now {each} 2>/dev/null || true"
        for each in services
    )


REMOVAL = Removal(
    files=(*_SERVERS_FILES, dropin(_EXPORTER)),
    folders=(
        *(dropin(each).rpartition("/")[0] for each in (*SERVER_SERVICES, _EXPORTER)),
        *(layout.TOLD, layout.MONITORING, layout.GRAFANA_BOARDS, "/usr/local/share/portside"),
    ),
    machine=True,
    first=_stopped((*SERVER_SERVICES, _EXPORTER)),
    then="systemctl daemon-reload",
)
"""Services that are ours are stopped; packages and what was measured stay."""


@deploy("Monitoring")
def monitoring(node: Node) -> None:
    """node_exporter, and Prometheus if this is its node; nothing of it where it is off."""
    by = scraping.monitoring_node(node.cluster)
    if by is None:
        _gone(
            "Nothing is measured here",
            (*SERVER_SERVICES, _EXPORTER),
            (*_SERVERS_FILES, dropin(_EXPORTER)),
        )
        return
    directories_in_place(
        name="Folder of node_exporter's drop-in",
        directories=[Directory(dropin(_EXPORTER).rpartition("/")[0])],
    )
    files_in_place(
        name="node_exporter's sandbox, and that it listens here alone",
        files=[File(dropin(_EXPORTER), exporters_dropin())],
    )
    packages_installed(name="node_exporter", packages=["prometheus-node-exporter"])
    converged(
        name="node_exporter runs",
        service="node-exporter",
        levels=[Level((dropin(_EXPORTER),), monitoring_server.restarted(_EXPORTER))],
        holds=runs(_EXPORTER),
    )
    if by == node.node_id:
        monitoring_server.server(node)
    else:
        _gone("Prometheus runs elsewhere", SERVER_SERVICES, _SERVERS_FILES)


def exporters_dropin() -> str:
    """What of node_exporter's unit isn't as Debian has it."""
    return render(
        f"prometheus/{_EXPORTER}.conf.j2",
        layout=layout,
        memory=sizing.NODE_EXPORTER_MEMORY,
        writable=layout.NODE_EXPORTER_DATA,
    )


def _gone(name: str, services: tuple[str, ...], files: tuple[str, ...]) -> None:
    """Services stopped for good where they are ours, and their files removed."""
    stamps = tuple(f"{layout.STATE}/{stamp}.stamp" for stamp in ("alertmanager", "node-exporter"))
    files_gone(
        name=name,
        paths=(*files, *(stamps if _EXPORTER in services else stamps[:1])),
        first=_stopped(services),
        then="systemctl daemon-reload",
        service="prometheus",
    )
