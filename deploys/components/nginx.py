"""nginx: TLS, downloads from disk, uploads through to the agent, requests to the control plane.

Reloaded, never restarted. A node that stores and controls has both in one nginx.conf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyinfra.api.deploy import deploy

from deploys import layout
from deploys.hosts.monitoring import readers
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from deploys.operations.reloading import reload_or_start
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside.cluster import bandwidth
from portside.cluster.monitoring import scraping
from portside.content import SCRIPT_EXTENSIONS
from portside.wire import paths
from portside.wire.problem import PROBLEM_PREFIX

FILE = "/etc/nginx/nginx.conf"
"""The whole of it."""

REFUSAL_STATUSES = (
    *(400, 401, 403, 404, 405, 409, 410, 411, 412, 413, 415, 417, 422, 423, 429, 460),
    *(500, 503, 504, 507),
)
"""What the agent may refuse an upload or a download with. nginx wants each written out."""

_WELCOME = "/etc/nginx/sites-enabled/default"
_WELCOMES = (
    # As the package brought it: one that was changed is the operator's own.
    f'{{ [ "$(readlink -f {_WELCOME})" = /etc/nginx/sites-available/default ] && '
    "! dpkg --verify nginx-common | grep -q sites-available/default; }"
)

RELOAD = "nginx -t -q\n" + reload_or_start("nginx.service", "tail -n 5 /var/log/nginx/error.log")


def configuration(
    node: Node, *, roles: tuple[str, ...] | None = None, monitors: Sequence[str] = ()
) -> str:
    """The whole of nginx.conf; with `roles` only what these serve. `monitors` are addresses of the
    node that Prometheus runs on."""
    known = context(node, monitors=monitors)
    if roles is not None:
        known["roles"] = roles
    return render("nginx/nginx.conf.j2", **known)


def context(node: Node, places: Any = layout, monitors: Sequence[str] = ()) -> dict[str, Any]:
    """What the templates of nginx want to know; `places` has the names of deploys.layout."""
    watched = node.cluster.monitoring
    return {
        "layout": places,
        "paths": paths,
        "host": node.host,
        "roles": node.roles,
        "keep": node.cluster.nginx.keep,
        "control_port": node.control_port,
        "root": node.cluster.uploads.root,
        "ipv6": node.facts.ipv6,
        "sizing": node.sizing,
        "open_files": node.open_files,
        "origins": node.cluster.cors.origins,
        "limits": node.cluster.limits,
        "least_rate": bandwidth.LEAST,
        # Each once: nginx warns of an address that is said twice.
        "metrics_readers": tuple(dict.fromkeys((*watched.allow, *monitors))),
        "node_exporter": layout.NODE_EXPORTER if watched.prometheus else None,
        "scraping": scraping,
        "max_age": node.cluster.max_age,
        "private": sorted(set(node.cluster.uploads.private)),
        "script_extensions": sorted(e.removeprefix(".") for e in SCRIPT_EXTENSIONS),
        "strict_transport_security": node.cluster.tls.strict_transport_security,
        "acme": node.cluster.tls.mode == "acme",
        "problem_prefix": PROBLEM_PREFIX,
        "refusal_statuses": REFUSAL_STATUSES,
    }


@deploy("nginx")
def nginx(node: Node) -> None:
    """One nginx.conf, checked as a whole before it takes the old one's place."""
    if node.cluster.nginx.keep:
        converged(
            name="Debian's welcome page is out of the way",
            service="nginx-welcome",
            holds=f"! {_WELCOMES}",
            otherwise=f"rm {_WELCOME}",
        )
    files_in_place(
        name="nginx.conf",
        files=[File(FILE, configuration(node, monitors=readers(node)), check="nginx -t -q -c {}")],
    )
    serves(node)


def serves(node: Node) -> None:
    """nginx on the files that are there."""
    # A certificate that renews itself is taken up by what renews it (components/acme.py).
    renewed = () if node.cluster.tls.mode == "acme" else (layout.TLS_PAIR,)
    converged(
        name="nginx serves it",
        service="nginx",
        levels=[Level((FILE, *renewed), RELOAD)],
        holds="systemctl is-active --quiet nginx && systemctl is-enabled --quiet nginx",
    )
