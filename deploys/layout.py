"""Where things are on a node: every path that more than one component knows."""

from __future__ import annotations

from pathlib import Path

from portside.operator import programs
from portside.operator.programs import AGENT, CONTROL

PROJECT_ROOT = Path(__file__).resolve().parent.parent
"""The project's folder on the operator's machine."""

SERVICE_USER = AGENT.user
NGINX_USER = "www-data"

STATE = "/var/lib/portside-deploy"
"""The deploy's own: a stamp per service, written last. Root's."""

PRIVATE_UPLOADS = f"{STATE}/uploads"
"""Where uploads rest before root takes them. 0700, the login user's."""

NGINX_BEFORE_SANDBOX = f"{STATE}/nginx-before-sandbox"
"""Which start of nginx (systemd's InvocationID) was before its sandbox was written as it is."""

HOME = "/var/lib/portside"

SETTINGS = "/etc/portside"
AGENT_TOML = f"{SETTINGS}/agent.toml"
GUNICORN_CONF = f"{SETTINGS}/gunicorn.conf.py"
KEYSET = f"{SETTINGS}/keyset.json"
NODE_KEY = f"{SETTINGS}/node.key"
NEXT_NODE_KEY = f"{SETTINGS}/node.key.next"
"""While keys are rotated: the one that follows."""
RETIRED = programs.RETIRED
ROSTER = f"{SETTINGS}/roster.json"
CA_CERTIFICATE = f"{SETTINGS}/ca.crt"
"""The cluster's own authority, where it has one: what nodes know each other by."""
COLD_CREDENTIALS = f"{SETTINGS}/cold.credentials"
"""The access key of the cold tier's bucket: 0600, the service user's."""
TLS = f"{SETTINGS}/tls"
TLS_PAIR = f"{TLS}/node.pem"
"""Chain and key in one file: whatever happens, nginx finds both halves of the same pair."""
TLS_FORMER = (f"{TLS}/node.crt", f"{TLS}/node.key")
"""Where they were as two files."""

PROGRAM = AGENT.home
"""The agent's: its releases, and the link to the one that runs."""
RELEASES = AGENT.releases
CURRENT = AGENT.current
BEFORE = f"{PROGRAM}/before"
"""What ran before a change that is under way: there to go back to until the change is proven."""
AGENT_COMMAND = AGENT.command

SERVE_LIBRARY = "/usr/local/lib/portside"
SERVE_COMMAND = f"{SERVE_LIBRARY}/portside-serve"
"""What runs the web sides, and its modules: outside any release, for it outlives each."""

RUNTIME = "/run/portside"
AGENT_SOCKET = f"{RUNTIME}/agent.sock"

UNITS = "/etc/systemd/system"
AGENT_SERVICE, WORKER_SERVICE = (f"{service}.service" for service in AGENT.services)
DISK_SERVICE = "portside-disk.service"
"""Where the data is on a disk of its own: the agent runs while that is mounted."""

CONTROL_USER = CONTROL.user
CONTROL_HOME = "/var/lib/portside-control"
CONTROL_DATABASE = f"{CONTROL_HOME}/control.sqlite"
CONTROL_BACKUPS = "/var/backups/portside-control"
CONTROL_TOML = f"{SETTINGS}/control.toml"
ALERTS_PASSWORD = f"{SETTINGS}/alerts.password"
"""The mail server's that takes alerts: 0600, the control plane's user's."""
REPLICA_SETTINGS = f"{SETTINGS}/control.replica.yml"
REPLICA_CREDENTIALS = f"{SETTINGS}/replica.credentials"
"""The access key of the replica's bucket: 0600, the control plane's user's."""
REPLICA_KEY = f"{SETTINGS}/replica.key"
"""The private SSH key of its SFTP: the same."""
CONTROL_GUNICORN_CONF = f"{SETTINGS}/control.gunicorn.conf.py"
CONTROL_DATABASE_URL = f"{SETTINGS}/control.database"
"""The URL of a database elsewhere, with its password."""
ISSUER_KEY = f"{SETTINGS}/issuer.json"
"""Signs upload tokens: on the control plane alone."""

CONTROL_PROGRAM = CONTROL.home
CONTROL_RELEASES = CONTROL.releases
CONTROL_CURRENT = CONTROL.current
CONTROL_COMMAND = CONTROL.command
BACKUP_COMMAND = programs.CONTROL_BACKUP

REPLICA_COMMAND = f"{CONTROL_CURRENT}/venv/bin/litestream"

CONTROL_SOCKET = "/run/portside-control/control.sock"

CONTROL_SERVICE, CONTROL_WORKER_SERVICE = (f"{service}.service" for service in CONTROL.services)
BACKUP_SERVICE = "portside-control-backup.service"
BACKUP_TIMER = "portside-control-backup.timer"
REPLICA_SERVICE = "portside-control-replica.service"
REPLICA_SOCKET = "/run/portside-control-replica/litestream.sock"
REPLICA_STATE = f"{CONTROL_HOME}/.control.sqlite-litestream"
"""What litestream keeps beside the database: it is of this very file, and goes with it."""

PIP_WHEEL = "/usr/share/python-wheels/pip-*.whl"
"""Debian's own, one on each release: python3-venv brings it along in python3-pip-whl."""

MARKER = programs.MARKER

ACME_SETTINGS = f"{SETTINGS}/acme.toml"
ACME_HOME = "/var/lib/portside-acme"
"""certbot's account, certificates and keys; root's."""
ACME_WEBROOT = f"{ACME_HOME}/webroot"
"""What nginx serves the authority at port 80, to prove that the name is this node's."""
ACME_LOGS = "/var/log/portside-acme"
CERTIFICATE_COMMAND = "/usr/local/sbin/portside-certificate"
CERTIFICATE_SERVICE = "portside-certificate.service"
CERTIFICATE_TIMER = "portside-certificate.timer"

MONITORING = "/etc/prometheus/portside"
"""What Prometheus and Alertmanager read of ours: Debian's own files beside it stay as they are."""
PROMETHEUS_SETTINGS = f"{MONITORING}/prometheus.yml"
ALERT_RULES = f"{MONITORING}/alerts.yml"
MONITORING_CA = f"{MONITORING}/ca.crt"
"""The cluster's own authority, for Prometheus, which isn't let into Portside's settings."""
TOLD = f"{MONITORING}/alertmanager"
"""Whom alerts are told, and the secrets for it: the other services, which run as the same user,
don't see this folder."""
ALERTMANAGER_SETTINGS = f"{TOLD}/alertmanager.yml"
MAIL_PASSWORD = f"{TOLD}/mail.password"
WEBHOOK_TOKEN = f"{TOLD}/webhook.token"
PROMETHEUS_USER = "prometheus"
PROMETHEUS_SERVICE = "prometheus.service"
ALERTMANAGER_SERVICE = "prometheus-alertmanager.service"
NODE_EXPORTER_SERVICE = "prometheus-node-exporter.service"
PROMETHEUS = "127.0.0.1:9090"
ALERTMANAGER = "127.0.0.1:9093"
NODE_EXPORTER = "127.0.0.1:9100"
"""Where each listens: on loopback, for none of them asks who comes."""
PROMETHEUS_DATA = "/var/lib/prometheus/metrics2"
ALERTMANAGER_DATA = "/var/lib/prometheus/alertmanager"
NODE_EXPORTER_DATA = "/var/lib/prometheus/node-exporter"
"""As Debian's packages have them. The last is for text files of metrics that others write."""
GRAFANA = "/etc/grafana/provisioning"
GRAFANA_BOARDS = "/usr/local/share/portside/grafana"

COLD_MEMORY = 64 * 1024 * 1024
"""Bytes for the worker beside its own where there is a cold tier: boto3 takes some 30 MiB."""
