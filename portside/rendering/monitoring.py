"""What a Prometheus reads of ours, a cluster's own or one of the operator's: rules, scrape configs,
and the board for a Grafana.
"""

from __future__ import annotations

from portside.alerting import outcomes
from portside.alerting.catalogue import BURNS, Bounds
from portside.cluster.file import Cluster
from portside.cluster.monitoring import scraping
from portside.rendering.templates import TEMPLATES, render


def bounds(cluster: Cluster) -> Bounds:
    """What the cluster file says of silence, repair and scrubbing; the rest is as usual."""
    return Bounds(
        dead_after=cluster.control.dead_after,
        repair_after=cluster.control.repair_after,
        scrub_every=cluster.scrub.every,
    )


def alert_rules(cluster: Cluster) -> str:
    """alerts.yml, from the catalogue that the control plane tells by, too."""
    return render(
        "prometheus/alerts.yml.j2",
        bounds=bounds(cluster),
        burns=BURNS,
        broken=sorted(outcomes.BROKEN),
        resuming=sorted(outcomes.RESUMING),
        windows=sorted({window for burn in BURNS for window in (burn.short, burn.long)}),
    )


def scrape_configs(cluster: Cluster, ca_file: str | None) -> str:
    """What a Prometheus elsewhere asks; `ca_file` is where it has the cluster's own authority."""
    return render(
        "prometheus/targets.yml.j2",
        cluster=cluster,
        scraping=scraping,
        groups=scraping.groups(cluster, here=None),
        ca_file=ca_file,
    )


def grafana_board() -> str:
    """The board as Grafana imports it. Raises OSError."""
    return (TEMPLATES / "grafana" / "portside.json").read_text(encoding="utf-8")
