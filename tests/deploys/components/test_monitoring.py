"""Monitoring comes where it is asked for, tells whom it should, and takes over nobody's own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components import monitoring, monitoring_server
from deploys.hosts.monitoring import dropin
from portside.alerting.catalogue import Bounds
from portside.cluster.file import parse
from portside.quantities import GIB
from portside.rendering.monitoring import alert_rules
from tests.support.certificates import made
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeControl, MakeNode

ON = f"{CLUSTER}monitoring: {{prometheus: on}}\n"
WHERE = "getent ahosts"
"""In what a node is asked: whose services run, whence Prometheus comes, how large its disk is."""
FOUND = ["address 192.0.2.9", "address 2001:db8::9", "disk 107374182400"]
SECRET = "only-for-tests-4711"
WEBHOOK = "webhook: https://hooks.portside.test/alerts"
MAIL = "mail: {to: [ops@portside.test], sender: portside@portside.test, host: mail.portside.test"
TOLD = {
    "nobody": "",
    "webhook": f"alertmanager: {{{WEBHOOK}}}",
    "webhook with a token": f"alertmanager: {{{WEBHOOK}, webhook_token: on}}",
    "mail": f"alertmanager: {{{MAIL}, user: portside}}}}",
    "mail by TLS": f"alertmanager: {{{MAIL}, tls: tls}}}}",
    "mail without TLS": f"alertmanager: {{{MAIL}, tls: none, port: 2525}}}}",
    "both": f"alertmanager: {{{WEBHOOK}, webhook_token: on, {MAIL}, user: portside}}}}",
}


def _told(who: str) -> str:
    return f"{CLUSTER}monitoring: {{prometheus: on, {TOLD[who]}}}\n"


def _deploy(
    secrets: Path,
    text: str,
    node_id: str = "c01",
    role: str = "control",
    said: dict[str, Any] | None = None,
) -> list[str]:
    (secrets.parent.parent / "cluster.yaml").write_text(text)
    script = "control_node.py" if role == "control" else "storage_node.py"
    return fake_host.deploy(script, {**PRISTINE, WHERE: FOUND, **(said or {})}, node_id, [role])


def _writes(commands: list[str], path: str) -> list[str]:
    return [each for each in commands if "mv -fT" in each and path in each]


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


# -- what is deployed, and where -------------------------------------------------------------------


@pytest.mark.usefixtures("release")
def test_nothing_is_open_to_the_world_for_a_moment_and_settings_come_before_what_reads_them(
    secrets: Path,
) -> None:
    commands = _deploy(secrets, ON)
    order = [
        # The package starts its service at once: the drop-in keeps it on loopback.
        position(commands, "mv -fT", dropin(layout.NODE_EXPORTER_SERVICE)),
        position(commands, "apt-get install", "prometheus-node-exporter"),
        position(commands, f"systemctl restart {layout.NODE_EXPORTER_SERVICE}"),
        position(commands, "mv -fT", dropin(layout.PROMETHEUS_SERVICE)),
        position(commands, "apt-get install", "prometheus-alertmanager"),
        position(commands, "promtool check rules"),
        position(commands, "mv -fT", layout.ALERT_RULES),
        position(commands, "promtool check config"),
        position(commands, "mv -fT", layout.PROMETHEUS_SETTINGS),
        position(commands, f"systemctl restart {layout.PROMETHEUS_SERVICE}"),
        position(commands, "amtool check-config"),
        position(commands, "mv -fT", layout.ALERTMANAGER_SETTINGS),
        position(commands, f"systemctl restart {layout.ALERTMANAGER_SERVICE}"),
    ]
    assert order == sorted(order)


@pytest.mark.usefixtures("release")
def test_a_storage_node_is_measured_and_measures_nobody(secrets: Path) -> None:
    commands = _deploy(secrets, ON, "s01", "storage")
    position(commands, f"systemctl restart {layout.NODE_EXPORTER_SERVICE}")
    for service in (layout.PROMETHEUS_SERVICE, layout.ALERTMANAGER_SERVICE):
        assert not any(f"restart {service}" in command for command in commands)
    assert not _writes(commands, layout.PROMETHEUS_SETTINGS)


@pytest.mark.usefixtures("release")
def test_it_runs_where_the_cluster_file_says(secrets: Path) -> None:
    text = f"{CLUSTER}monitoring: {{prometheus: on, node: s02}}\n"
    commands = _deploy(secrets, text, "s02", "storage")
    position(commands, f"systemctl restart {layout.PROMETHEUS_SERVICE}")
    commands = _deploy(secrets, text)
    assert not any(f"restart {layout.PROMETHEUS_SERVICE}" in command for command in commands)


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(("node_id", "role"), [("c01", "control"), ("s01", "storage")])
def test_nobody_gets_it_unasked(secrets: Path, node_id: str, role: str) -> None:
    commands = _deploy(secrets, CLUSTER, node_id, role)
    assert not _writes(commands, "prometheus")
    assert not any("apt-get install" in each and "prometheus" in each for each in commands)


@pytest.mark.usefixtures("release")
def test_switched_off_again_it_stops_and_goes(secrets: Path) -> None:
    there = [f"file 644 root root {'0' * 64} {dropin(layout.PROMETHEUS_SERVICE)}"]
    first = f"for p in {dropin(layout.PROMETHEUS_SERVICE)} "
    commands = _deploy(secrets, CLUSTER, said={first: there})
    gone = commands[position(commands, f"rm -f {dropin(layout.PROMETHEUS_SERVICE)}")]
    for service in (
        layout.PROMETHEUS_SERVICE,
        layout.ALERTMANAGER_SERVICE,
        layout.NODE_EXPORTER_SERVICE,
    ):
        # Somebody's own, without our drop-in, is left running.
        assert f"[ ! -e {dropin(service)} ] || systemctl disable --quiet --now {service}" in gone
    for path in (layout.MAIL_PASSWORD, layout.WEBHOOK_TOKEN, layout.ALERTMANAGER_SETTINGS):
        assert path in gone
    assert layout.PROMETHEUS_DATA not in gone


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    "service",
    [layout.PROMETHEUS_SERVICE, layout.ALERTMANAGER_SERVICE, layout.NODE_EXPORTER_SERVICE],
)
def test_what_an_operator_has_set_up_himself_is_not_taken_over(secrets: Path, service: str) -> None:
    with pytest.raises(PyinfraError, match=f"{service} runs here .*apt purge"):
        _deploy(secrets, ON, said={WHERE: [*FOUND, f"runs {service}"]})


@pytest.mark.usefixtures("release")
def test_a_node_that_does_not_know_where_prometheus_comes_from_is_refused(secrets: Path) -> None:
    with pytest.raises(PyinfraError, match=r"c01\.portside\.test.* has no address here"):
        _deploy(secrets, ON, "s01", "storage", said={WHERE: ["disk 107374182400"]})
    # Where SSH finds it will do.
    addressed = ON.replace("c01: {}", "c01: {address: 192.0.2.44}")
    _deploy(secrets, addressed, "s01", "storage", said={WHERE: ["disk 107374182400"]})


@pytest.mark.usefixtures("release")
def test_grafana_finds_board_and_data_source_where_it_looks(secrets: Path) -> None:
    commands = _deploy(secrets, f"{CLUSTER}monitoring: {{prometheus: on, grafana: on}}\n")
    for path in monitoring_server.GRAFANAS_FILES:
        position(commands, "mv -fT", path)
    # It isn't Debian's to install.
    assert not any("apt-get install" in each and "grafana" in each for each in commands)


# -- secrets ---------------------------------------------------------------------------------------


def _keep(secrets: Path, name: str, text: str, mode: int = 0o600) -> None:
    (secrets / name).write_text(text)
    (secrets / name).chmod(mode)


@pytest.mark.usefixtures("release")
def test_secrets_are_prometheus_alone_and_in_no_command(secrets: Path) -> None:
    _keep(secrets, "alerts.password", f"{SECRET}\n")
    _keep(secrets, "webhook.token", f"{SECRET}\n")
    commands = _deploy(secrets, _told("both"))
    for path in (layout.MAIL_PASSWORD, layout.WEBHOOK_TOKEN, layout.ALERTMANAGER_SETTINGS):
        written = commands[position(commands, "umask 077; { cat >", path.rpartition("/")[2])]
        assert "chown prometheus:prometheus" in written
        assert "chmod 0600" in written
    assert SECRET not in "\n".join(commands)


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("who", "name", "text", "mode", "why"),
    [
        ("mail", "other", "", 0o600, "alerts.password"),
        ("mail", "alerts.password", SECRET, 0o644, "chmod 600"),
        ("mail", "alerts.password", "a\nb\n", 0o600, "one line"),
        ("webhook with a token", "other", "", 0o600, "webhook.token"),
        ("webhook with a token", "webhook.token", "\n", 0o600, "one line"),
    ],
)
def test_without_its_secret_nothing_is_begun(
    secrets: Path, who: str, name: str, text: str, mode: int, why: str
) -> None:
    _keep(secrets, name, text, mode)
    with pytest.raises(PyinfraError, match=why):
        _deploy(secrets, _told(who))


# -- what the programs themselves say of their settings --------------------------------------------

CLUSTERS = {
    "lab": ON,
    "acme": f"{ON}tls: {{mode: acme, email: ops@portside.test}}\n",
    "one machine": ON.replace("{s01: {}, s02: {}, c01: {}}", "{c01: {roles: [storage, control]}}"),
    "by tokens alone": "name: test\ndomain: portside.test\nnodes: {s01: {}, s02: {}}\n"
    "monitoring: {prometheus: on, node: s01}\n",
}


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("name", CLUSTERS)
def test_promtool_takes_the_settings_and_each_node_is_asked(
    make_control: MakeControl, name: str, tmp_path: Path
) -> None:
    cluster = parse(CLUSTERS[name])
    by = cluster.monitoring.node or "c01"
    text = monitoring_server.prometheus_settings(make_control(cluster, by))
    (tmp_path / "alerts.yml").write_text(alert_rules(cluster))
    (tmp_path / "ca.crt").write_bytes(made("Root", is_ca=True).certificate_pem)
    path = tmp_path / "prometheus.yml"
    path.write_text(text.replace(layout.MONITORING, str(tmp_path)))
    checked = _run("promtool", "check", "config", str(path))
    assert checked.returncode == 0, checked.stderr
    asked: dict[tuple[str, str], str] = {}
    for scraped in yaml.safe_load(text)["scrape_configs"]:
        for each in scraped["static_configs"]:
            (address,) = each["targets"]
            here = each["labels"]["node"] == by
            job = each["labels"].get("job", scraped["job_name"])
            asked[job, each["labels"]["node"]] = address
            if not job.startswith("portside"):
                continue
            assert scraped["scheme"] == "https"
            # Nobody's DNS may lead a node to itself: it asks at loopback, for the name it has.
            assert address.startswith("127.0.0.1:") is here
            said = scraped.get("tls_config", {})
            assert said.get("server_name") == (cluster.host(by) if here else None)
            assert ("ca_file" in said) is (name != "acme")
    wanted = {("portside-agent", each) for each in cluster.with_role("storage")}
    wanted |= {("portside-control", each) for each in cluster.with_role("control")}
    wanted |= {("node", each) for each in cluster.nodes}
    assert set(asked) == wanted | {("prometheus", by), ("alertmanager", by)}
    if name == "one machine":
        assert asked["portside-control", "c01"] == "127.0.0.1:8443"


@pytest.mark.parametrize("who", TOLD)
def test_amtool_takes_the_settings_which_hold_no_secret(
    make_control: MakeControl, who: str, tmp_path: Path
) -> None:
    text = monitoring_server.alertmanager_settings(make_control(parse(_told(who))))
    path = tmp_path / "alertmanager.yml"
    path.write_text(text)
    checked = _run("amtool", "check-config", str(path))
    assert checked.returncode == 0, checked.stdout
    (receiver,) = yaml.safe_load(text)["receivers"]
    assert ("webhook_configs" in receiver) is ("webhook" in who or who == "both")
    assert ("email_configs" in receiver) is ("mail" in who or who == "both")
    assert (layout.MAIL_PASSWORD in text) is (who in ("mail", "both"))
    assert (layout.WEBHOOK_TOKEN in text) is (who in ("webhook with a token", "both"))


def test_settings_that_alertmanager_would_not_read_are_refused_with_its_own_words(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alertmanager.yml"
    path.write_text("route: {receiver: a}\nreceivers: [{name: b}]\n")
    check = monitoring_server.ALERTMANAGERS_CHECK
    checked = _run("sh", "-c", check.replace("{}", str(path)))
    assert checked.returncode != 0
    assert 'undefined receiver "a"' in checked.stderr


def test_what_is_muted_and_by_what_are_alerts_that_there_are() -> None:
    known = Bounds(dead_after=90, repair_after=900, scrub_every=86400).catalogue
    for pair in monitoring_server.INHIBITED:
        assert [known[name].name for name in pair] == list(pair)


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("service", "limit"),
    [
        (layout.PROMETHEUS_SERVICE, 14),
        (layout.ALERTMANAGER_SERVICE, 14),
        # It looks at the machine: processes, mounts, the network's counters.
        (layout.NODE_EXPORTER_SERVICE, 16),
    ],
)
def test_systemd_takes_each_unit_which_is_sandboxed_as_the_others_are(
    make_control: MakeControl,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: str,
    limit: int,
) -> None:
    text = _dropin(make_control, monkeypatch, service)
    # Debian's own, with ours beside it as on a node.
    shutil.copy(f"/lib/systemd/system/{service}", tmp_path / service)
    beside = tmp_path / f"{service}.d"
    beside.mkdir()
    (beside / "portside.conf").write_text(text)
    unit = tmp_path / service
    verified = _run("systemd-analyze", "verify", "--man=no", str(unit))
    assert (verified.returncode, service in verified.stderr) == (0, False), verified.stderr
    # What it judges offline is one file.
    alone = tmp_path / "alone" / service
    alone.parent.mkdir()
    alone.write_text(unit.read_text().replace("[Install]", text + "\n[Install]"))
    judged = _run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={limit}", str(alone)
    )
    assert judged.returncode == 0, judged.stdout


def _dropin(make_control: MakeControl, monkeypatch: pytest.MonkeyPatch, service: str) -> str:
    if service == layout.NODE_EXPORTER_SERVICE:
        return monitoring.exporters_dropin()
    found = monitoring_server.Watched(disk=100 * GIB)
    monkeypatch.setattr(monitoring_server, "watched", lambda node: found)
    return monitoring_server.server_dropin(make_control(parse(ON)), service)


@pytest.mark.parametrize(
    "service",
    [layout.PROMETHEUS_SERVICE, layout.ALERTMANAGER_SERVICE, layout.NODE_EXPORTER_SERVICE],
)
def test_each_listens_on_loopback_alone(
    make_control: MakeControl, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    text = _dropin(make_control, monkeypatch, service)
    assert "--web.listen-address=127.0.0.1:" in text
    # Alertmanager would open another one for others of its kind.
    assert ("--cluster.listen-address= " in text) is (service == layout.ALERTMANAGER_SERVICE)


def test_what_prometheus_keeps_fits_its_disk(
    make_control: MakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = layout.PROMETHEUS_SERVICE
    assert "retention.size=5120MB" in _dropin(make_control, monkeypatch, service)
    assert "retention.time=2592000s" in _dropin(make_control, monkeypatch, service)
    told = parse(f"{CLUSTER}monitoring: {{prometheus: on, keep: 90d, disk: 2GiB}}\n")
    text = monitoring_server.server_dropin(make_control(told), service)
    assert "retention.size=2048MB" in text
    assert "retention.time=7776000s" in text


def test_a_storage_node_that_watches_hides_its_files_from_prometheus(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = monitoring_server.Watched(disk=100 * GIB)
    monkeypatch.setattr(monitoring_server, "watched", lambda node: found)
    text = monitoring_server.server_dropin(make_node(cluster=parse(ON)), layout.PROMETHEUS_SERVICE)
    hidden = next(line for line in text.splitlines() if line.startswith("InaccessiblePaths="))
    for path in (layout.SETTINGS, "/srv/portside", layout.CONTROL_HOME, layout.TOLD):
        assert f"-{path} " in f"{hidden} "
