"""Prometheus' alert rules, from the catalogue that the control plane tells by, too."""

from __future__ import annotations

from deploys.operations.rendering import render
from portside.alerting import outcomes
from portside.alerting.catalogue import BURNS, Bounds
from portside.cluster.file import Cluster


def bounds(cluster: Cluster) -> Bounds:
    """What the cluster file says of silence, repair and scrubbing; the rest is as usual."""
    return Bounds(
        dead_after=cluster.control.dead_after,
        repair_after=cluster.control.repair_after,
        scrub_every=cluster.scrub.every,
    )


def alert_rules(cluster: Cluster) -> str:
    """portside-alerts.yml. Scrape jobs have to be called as the template says."""
    return render(
        "prometheus/alerts.yml.j2",
        bounds=bounds(cluster),
        burns=BURNS,
        broken=sorted(outcomes.BROKEN),
        resuming=sorted(outcomes.RESUMING),
        windows=sorted({window for burn in BURNS for window in (burn.short, burn.long)}),
    )
