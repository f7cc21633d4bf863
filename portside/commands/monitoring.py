"""`portside monitoring`: what a Prometheus and a Grafana of your own want to know of a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from portside.cluster.file import Cluster
from portside.commands.common import ClusterFile, load_cluster, say
from portside.rendering import monitoring

CA_FILE = "portside-ca.crt"
"""Where the cluster's own authority is taken for, beside prometheus.yml."""

app = typer.Typer(
    help="What a Prometheus and a Grafana of your own want to know: docs/monitoring.md.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def rules(file: ClusterFile = None) -> None:
    """Print the alert rules, for `rule_files` of a prometheus.yml.

    portside monitoring rules > /etc/prometheus/portside-alerts.yml
    """
    typer.echo(monitoring.alert_rules(load_cluster(file)), nl=False)


@app.command()
def scrape(
    file: ClusterFile = None,
    ca: Annotated[
        Path,
        typer.Option(
            "--ca",
            metavar="PATH",
            help="Where that Prometheus has the certificates of the cluster's own authority, if "
            "the cluster has one.",
        ),
    ] = Path(CA_FILE),
) -> None:
    """Print the scrape configs, for a prometheus.yml or its `scrape_config_files`.

    The nodes let in who is among `monitoring.allow` of the cluster file, and nobody else.
    """
    cluster = load_cluster(file)
    own = _has_an_authority_of_its_own(cluster)
    typer.echo(monitoring.scrape_configs(cluster, str(ca) if own else None), nl=False)
    if not cluster.monitoring.allow:
        say("monitoring.allow names nobody: say there from which addresses your Prometheus comes")


@app.command()
def board() -> None:
    """Print the board, for "Import" of a Grafana. It asks which data source it is to show."""
    typer.echo(monitoring.grafana_board(), nl=False)


def _has_an_authority_of_its_own(cluster: Cluster) -> bool:
    return cluster.tls.mode == "lab" or cluster.tls.authority is not None
