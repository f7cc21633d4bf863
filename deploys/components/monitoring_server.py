"""Prometheus and Alertmanager on the node that watches the others, and the board for a Grafana.

Both listen on loopback. Their settings are looked at by promtool and amtool before they take the
old ones' place, and taken up by a reload, which succeeds only once the service itself says so.
"""

from __future__ import annotations

import shlex

from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components.tls import authority_file
from deploys.hosts.monitoring import SERVER_SERVICES, dropin, watched
from deploys.hosts.monitoring import Watched as Watched
from deploys.hosts.node import Node
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.reloading import runs
from deploys.operations.removal import files_gone
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside import sizing
from portside.cluster.monitoring import scraping
from portside.operator.keystore import Keystore, KeystoreError
from portside.rendering.monitoring import alert_rules, grafana_board

GRAFANAS_FILES = (
    f"{layout.GRAFANA}/datasources/portside.yaml",
    f"{layout.GRAFANA}/dashboards/portside.yaml",
    f"{layout.GRAFANA_BOARDS}/portside.json",
)

INHIBITED = (
    ("memory-short", "memory-high"),
    ("certificate-last-days", "certificate-ending"),
    ("heartbeat-missing", "metrics-missing"),
    ("slo-burn-fast", "slo-burn"),
    ("slo-burn-fast", "slo-burn-slow"),
    ("slo-burn", "slo-burn-slow"),
)
"""While the first is told of a node, the second isn't: names of portside.alerting.catalogue."""

ALERTMANAGERS_CHECK = 'said=$(amtool check-config {}) || { echo "$said" >&2; false; }'
"""It says what is wrong where others say what is right."""

_USER = layout.PROMETHEUS_USER
_PRIVATE = f"{_USER}:{_USER}"
_SHARED = f"root:{_USER}"

ADDRESSES = {
    layout.PROMETHEUS_SERVICE: layout.PROMETHEUS,
    layout.ALERTMANAGER_SERVICE: layout.ALERTMANAGER,
    layout.NODE_EXPORTER_SERVICE: layout.NODE_EXPORTER,
}

_ASK = """\
import http.client, re, sys
address, path, since = sys.argv[1:]
try:
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
except OSError as error:
    sys.exit(f"{address} doesn't answer: {error}")
if answer.status != 200:
    sys.exit(f"{address} answers {answer.status}: {text.strip()[:200]}")
if since != "-":
    told = dict(re.findall(r"^[a-z]+_config_last_reload_(\\w+) (\\S+)$", text, re.MULTILINE))
    if float(told["successful"]) != 1 or float(told["success_timestamp_seconds"]) < float(since):
        sys.exit(f"{address} goes on with its old settings")
"""
"""Python: whether a service answers, and has taken up its settings `since` then."""


def server(node: Node) -> None:
    """Prometheus, Alertmanager, their settings, and what a Grafana here would read."""
    dropins = {service: server_dropin(node, service) for service in SERVER_SERVICES}
    directories_in_place(
        name="Folders of drop-ins",
        directories=[Directory(dropin(service).rpartition("/")[0]) for service in dropins],
    )
    files_in_place(
        name="Sandboxes of Prometheus and Alertmanager, and that they listen here alone",
        files=[File(dropin(service), text) for service, text in dropins.items()],
    )
    packages_installed(
        name="Prometheus, Alertmanager", packages=["prometheus", "prometheus-alertmanager"]
    )
    directories_in_place(
        name="Folders of their settings",
        directories=[
            Directory(layout.MONITORING, _SHARED, 0o750),
            Directory(layout.TOLD, _SHARED, 0o750),
        ],
    )
    _prometheus(node)
    _alertmanager(node)
    if node.cluster.monitoring.grafana:
        _grafana()
    # In one look: what else isn't asked for by now.
    files_gone(name="What is not asked for is gone", paths=_unasked(node))


def _prometheus(node: Node) -> None:
    authority = authority_file(node)
    # promtool looks whether what the settings name is there.
    files_in_place(
        name="Alert rules",
        files=[
            File(
                layout.ALERT_RULES,
                alert_rules(node.cluster),
                check="promtool check rules {} >/dev/null",
            ),
            *([File(layout.MONITORING_CA, authority)] if authority else []),
        ],
    )
    files_in_place(
        name="Settings of Prometheus",
        files=[
            File(
                layout.PROMETHEUS_SETTINGS,
                prometheus_settings(node),
                _SHARED,
                0o640,
                check="promtool check config {} >/dev/null",
            )
        ],
    )
    converged(
        name="Prometheus runs by them",
        service="prometheus",
        levels=[
            Level(
                (dropin(layout.PROMETHEUS_SERVICE),),
                restarted(layout.PROMETHEUS_SERVICE),
            ),
            Level(
                (layout.PROMETHEUS_SETTINGS, layout.ALERT_RULES, layout.MONITORING_CA),
                reloaded(layout.PROMETHEUS_SERVICE),
            ),
        ],
        holds=runs(layout.PROMETHEUS_SERVICE),
    )


def _alertmanager(node: Node) -> None:
    files_in_place(
        name="Settings of Alertmanager, secrets",
        files=[
            *secrets(node),
            File(
                layout.ALERTMANAGER_SETTINGS,
                alertmanager_settings(node),
                _PRIVATE,
                0o600,
                check=ALERTMANAGERS_CHECK,
            ),
        ],
    )
    converged(
        name="Alertmanager runs by them",
        service="alertmanager",
        levels=[
            Level((dropin(layout.ALERTMANAGER_SERVICE),), restarted(layout.ALERTMANAGER_SERVICE)),
            # Secrets aren't among them: they are read each time.
            Level((layout.ALERTMANAGER_SETTINGS,), reloaded(layout.ALERTMANAGER_SERVICE)),
        ],
        holds=runs(layout.ALERTMANAGER_SERVICE),
    )


def _grafana() -> None:
    datasource, boards, board = GRAFANAS_FILES
    directories_in_place(
        name="Folders that a Grafana reads",
        directories=[
            *(Directory(path) for path in ("/etc/grafana", layout.GRAFANA)),
            *(Directory(path.rpartition("/")[0]) for path in (datasource, boards)),
            *(Directory(path) for path in ("/usr/local/share/portside", layout.GRAFANA_BOARDS)),
        ],
    )
    files_in_place(
        name="Data source and board for Grafana",
        files=[
            File(datasource, render("grafana/datasource.yaml.j2", layout=layout)),
            File(boards, render("grafana/boards.yaml.j2", layout=layout)),
            File(board, grafana_board()),
        ],
    )


def server_dropin(node: Node, service: str) -> str:
    """What of a unit isn't as Debian has it."""
    monitoring, prometheus = node.cluster.monitoring, service == layout.PROMETHEUS_SERVICE
    machine = node.facts.machine
    return render(
        f"prometheus/{service}.conf.j2",
        layout=layout,
        root=node.cluster.uploads.root,
        settings=layout.PROMETHEUS_SETTINGS if prometheus else layout.ALERTMANAGER_SETTINGS,
        writable=layout.PROMETHEUS_DATA if prometheus else layout.ALERTMANAGER_DATA,
        memory=sizing.prometheus_memory(machine) if prometheus else sizing.ALERTMANAGER_MEMORY,
        keep=monitoring.keep,
        disk=monitoring.disk or sizing.prometheus_disk(watched(node).disk),
    )


def prometheus_settings(node: Node) -> str:
    """prometheus.yml."""
    return render(
        "prometheus/prometheus.yml.j2",
        layout=layout,
        cluster=node.cluster,
        here=node.node_id,
        groups=scraping.groups(node.cluster, node.node_id),
        scraping=scraping,
        ca_file=layout.MONITORING_CA if authority_file(node) else None,
    )


def alertmanager_settings(node: Node) -> str:
    """alertmanager.yml."""
    return render(
        "prometheus/alertmanager.yml.j2",
        told=node.cluster.monitoring.alertmanager,
        mail_password=layout.MAIL_PASSWORD,
        webhook_token=layout.WEBHOOK_TOKEN,
        inhibited=INHIBITED,
    )


def secrets(node: Node) -> list[File]:
    """What Alertmanager shows to whom it tells. Raises PyinfraError without a usable one."""
    told = node.cluster.monitoring.alertmanager
    keystore = Keystore.for_cluster(node.cluster, layout.PROJECT_ROOT)
    files = []
    try:
        if told and told.mail and told.mail.user:
            files.append(File(layout.MAIL_PASSWORD, keystore.alerts_password(), _PRIVATE, 0o600))
        if told and told.webhook_token:
            files.append(File(layout.WEBHOOK_TOKEN, keystore.webhook_token(), _PRIVATE, 0o600))
    except KeystoreError as error:
        raise PyinfraError(f"{node.node_id}: {error}") from None
    return files


def _unasked(node: Node) -> list[str]:
    kept = {each.path for each in secrets(node)}
    unasked = [path for path in (layout.MAIL_PASSWORD, layout.WEBHOOK_TOKEN) if path not in kept]
    return [*unasked, *(() if node.cluster.monitoring.grafana else GRAFANAS_FILES)]


def restarted(service: str) -> str:
    """Shell: the service runs under its unit as it is by now, and answers."""
    path = "/metrics" if service == layout.NODE_EXPORTER_SERVICE else "/-/ready"
    return f"""\
systemctl daemon-reload
systemctl unmask --quiet {service}
systemctl enable --quiet {service}
systemctl restart {service}
{until_it_answers(service, path, "-")}"""


def reloaded(service: str) -> str:
    """Shell: a running service has taken up its settings; one that doesn't run is started."""
    return f"""\
since=$(date +%s)
if systemctl is-active --quiet {service}; then
    systemctl reload {service}
else
    systemctl enable --quiet {service}
    systemctl restart {service}
fi
{until_it_answers(service, "/metrics", '"$since"')}"""


def until_it_answers(service: str, path: str, since: str) -> str:
    """Shell: wait for a minute at most, and say why it was in vain."""
    ask = f"python3 -I -c {shlex.quote(_ASK)} {ADDRESSES[service]} {path} {since}"
    return f"""\
answers=
for attempt in $(seq 120); do
    if {ask} 2>/dev/null; then answers=yes; break; fi
    sleep 0.5
done
if [ -z "$answers" ]; then
    {ask} >&2 || true
    journalctl --no-pager --lines 8 --output cat --unit {service} >&2
    exit 1
fi
"""
