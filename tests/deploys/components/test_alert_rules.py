"""Each of Prometheus' alert rules fires by its cause, not sooner than it should, and ends with it.

Judged by Debian's own promtool. Times are in steps of a case's interval.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from agent.api.metrics_page import NodeGauges
from agent.index.database import Database as Index
from agent.index.uploads import UploadIndex
from agent.problems import slugs
from agent.settings import load
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from agent.telemetry.metrics import Metrics
from agent.telemetry.worker_report import CertificateReport, WorkerReport
from agent.uploads.admission import Admission
from control.api.metrics import BackupGauges, ClusterGauges, ReplicaGauges
from control.db.database import Database
from control.db.migrations import migrate
from deploys.components.alert_rules import alert_rules, bounds
from portside.alerting import outcomes
from portside.clock import uptime
from portside.cluster.file import parse
from tests.support.agent.process import SMALL_NODE, Agent
from tests.support.cluster_files import CLUSTER
from tests.support.control.core import Core

AGENT = 'job="portside-agent", instance="s01"'
CONTROL = 'job="portside-control", instance="c01"'
NODE = f'{CONTROL}, node="s01"'

GB = 10**9
DAY = 86400


def steady(value: float, steps: int) -> str:
    """A gauge that stays."""
    return f"{value:f}+0x{steps - 1}"


def rising(start: float, by: float, steps: int) -> str:
    """A counter, or a disk that fills (with a negative `by`)."""
    return f"{start:f}{by:+f}x{steps - 1}"


@dataclass(frozen=True)
class Case:
    """`series` have the cause and then its end; `fires` and `over` are steps, `not_yet` is one at
    which the cause is there, but not for long enough."""

    alert: str
    series: Mapping[str, str]
    fires: int
    over: int
    not_yet: int | None = None
    interval: str = "1m"
    count: int = 1


def gauge(
    alert: str, metric: str, bad: float, good: float, hold: int, labels: str = AGENT, **more: str
) -> Case:
    """A single gauge that is bad for twice as long as has to be waited, then good."""
    steps = 2 * hold + 6
    series = {f"{metric}{{{labels}}}": f"{steady(bad, steps)} {steady(good, 5)}", **more}
    not_yet = hold - 1 if hold else None
    return Case(alert, series, hold + 2, steps + 1, not_yet)


def on_agent(name: str, value: float, steps: int = 4000) -> dict[str, str]:
    return {f"{name}{{{AGENT}}}": steady(value, steps)}


def uploads(outcome: str, values: str, way: str = "put") -> dict[str, str]:
    return {f'portside_uploads_total{{{AGENT}, way="{way}", outcome="{outcome}"}}': values}


# Renewed at its tenth minute: the seconds are those of promtool's time, which begins at 0.
def certificate(alert: str, left: float, life: float, hold: int) -> Case:
    steps = hold + 6
    end = f"portside_certificate_end_timestamp_seconds{{{AGENT}}}"
    return Case(
        alert,
        {
            end: f"{steady(left, steps)} {steady(left + 60 * DAY, 10)}",
            **on_agent("portside_certificate_lifetime_seconds", life),
        },
        hold + 2,
        steps + 1,
        hold - 1,
    )


CASES = [
    gauge(
        "memory-high",
        "portside_memory_available_bytes",
        1.5 * GB,
        2 * GB,
        10,
        **on_agent("portside_memory_total_bytes", 8 * GB),
    ),
    gauge(
        "memory-short",
        "portside_memory_available_bytes",
        0.499 * GB,
        0.501 * GB,
        5,
        **on_agent("portside_memory_total_bytes", 2 * GB),
    ),
    # From the beginning of the window on: 3 of 12 a minute, then none.
    Case(
        "uploads-failing",
        {
            **uploads("committed", rising(0, 9, 90)),
            **uploads("body-cut", f"{rising(0, 3, 40)} {steady(117, 50)}"),
        },
        fires=20,
        over=60,
        not_yet=9,
    ),
    gauge(
        "disk-nearly-full",
        "portside_disk_free_bytes",
        109 * GB,
        300 * GB,
        15,
        **on_agent("portside_disk_total_bytes", 1000 * GB),
        **on_agent("portside_disk_reserved_bytes", 5 * GB),
        **on_agent("portside_disk_kept_bytes", 5 * GB),
    ),
    # 10 GB an hour: 500 GB are gone in two days; then it stays as it is. Prometheus looks back for
    # five minutes: a series that is seen less often than that comes and goes.
    Case(
        "disk-full-soon",
        {
            f"portside_disk_free_bytes{{{AGENT}}}": (
                f"{rising(600 * GB, -GB / 3, 300)} {steady(500 * GB, 300)}"
            ),
            **on_agent("portside_disk_kept_bytes", 0),
        },
        fires=215,
        over=500,
        not_yet=205,
        interval="2m",
    ),
    gauge(
        "inodes-short",
        "portside_inodes_free",
        99_000,
        200_000,
        15,
        **on_agent("portside_inodes_total", 1_000_000),
        **on_agent("portside_inodes_reserved", 0),
        **on_agent("portside_inodes_kept", 0),
    ),
    certificate("certificate-ending", 20 * DAY, 90 * DAY, 360),
    certificate("certificate-last-days", 2.5 * DAY, 90 * DAY, 10),
    gauge("clock-off", "portside_control_node_clock_skew_seconds", -61, 59, 2, NODE),
    gauge(
        "system-disk-full",
        "node_filesystem_avail_bytes",
        1 * GB,
        5 * GB,
        15,
        'job="node", instance="s01", mountpoint="/", fstype="ext4"',
        **{
            'node_filesystem_size_bytes{job="node", instance="s01", mountpoint="/", '
            'fstype="ext4"}': steady(20 * GB, 100)
        },
    ),
    gauge("heartbeat-missing", "portside_control_node_silent_seconds", 91, 5, 0, NODE),
    gauge("replication-late", "portside_push_age_seconds", 3601, 0, 10),
    gauge("scrub-overdue", "portside_scrub_age_seconds", 45 * DAY + 1, 29 * DAY, 60),
    # One at the fifth step: it is told for a day.
    Case(
        "damage-found",
        {f"portside_damaged_files_total{{{AGENT}}}": f"{steady(0, 5)} {steady(1, 400)}"},
        fires=7,
        over=5 + 24 * 6 + 2,
        not_yet=3,
        interval="10m",
    ),
    gauge("quarantine-waits", "portside_quarantined_files", 2, 0, 24 * 60),
    gauge("node-read-only", "portside_accepting_uploads", 0, 1, 2),
    gauge("copies-short", "portside_control_files_short", 3, 0, 75, CONTROL),
    gauge("file-without-copy", "portside_control_files_without_copy", 1, 0, 5, CONTROL),
    gauge("backup-old", "portside_control_backup_age_seconds", 3 * 3600 + 1, 60, 10, CONTROL),
    gauge("replica-late", "portside_control_replica_up", 0, 1, 10, CONTROL),
    gauge("control-plane-away", "up", 0, 1, 2, CONTROL),
    gauge("database-away", "portside_control_database_up", 0, 1, 2, CONTROL),
    gauge("metrics-missing", "up", 0, 1, 5),
    gauge("worker-silent", "portside_worker_report_age_seconds", 301, 5, 2),
    # 2 % of a hundred uploads a minute, from the first minute on; then none.
    Case(
        "slo-burn-fast",
        {
            **uploads("committed", rising(0, 98, 200)),
            **uploads("storage-failed", f"{rising(0, 2, 90)} {steady(178, 110)}"),
        },
        fires=80,
        over=97,
    ),
    # 0.8 %: too little for the fast one.
    Case(
        "slo-burn",
        {
            **uploads("committed", rising(0, 496, 300)),
            **uploads("storage-failed", f"{rising(0, 4, 100)} {steady(396, 200)}"),
        },
        fires=90,
        over=108,
        interval="5m",
    ),
    # 0.2 %: too little for both.
    Case(
        "slo-burn-slow",
        {
            **uploads("committed", rising(0, 998, 400)),
            **uploads("storage-failed", f"{rising(0, 2, 160)} {steady(318, 240)}"),
        },
        fires=150,
        over=174,
        interval="30m",
    ),
]

SILENT = [
    # What is near a bound, on the good side of it.
    gauge(
        "memory-short",
        "portside_memory_available_bytes",
        0.3 * GB,
        0.3 * GB,
        5,
        **on_agent("portside_memory_total_bytes", 1 * GB),
    ),
    certificate("certificate-ending", 29 * DAY, 90 * DAY, 360),
    certificate("certificate-ending", 2 * DAY, 6 * DAY, 360),
    # Two of six are a third, and say nothing.
    Case(
        "uploads-failing",
        {
            **uploads("committed", f"0 4 {steady(4, 60)}"),
            **uploads("body-cut", f"0 2 {steady(2, 60)}"),
        },
        fires=12,
        over=40,
    ),
    # A client that goes on after a cut.
    Case(
        "uploads-failing",
        {
            **uploads("committed", rising(0, 1, 60)),
            **uploads("offset-mismatch", rising(0, 5, 60), way="tus"),
        },
        fires=30,
        over=50,
    ),
    # Clients' faults spend no budget; nor does a single failure among few.
    Case(
        "slo-burn-fast",
        {
            **uploads("committed", rising(0, 1, 100)),
            **uploads("digest-mismatch", rising(0, 9, 100)),
        },
        fires=70,
        over=90,
    ),
    Case(
        "slo-burn-fast",
        {
            **uploads("committed", rising(0, 0.1, 100)),
            **uploads("storage-failed", f"{steady(0, 60)} {steady(1, 40)}"),
        },
        fires=62,
        over=90,
    ),
    # A disk that gets emptier, and one that has just been filled for an hour.
    Case(
        "disk-full-soon",
        {
            f"portside_disk_free_bytes{{{AGENT}}}": rising(100 * GB, GB, 600),
            **on_agent("portside_disk_kept_bytes", 0),
        },
        fires=400,
        over=590,
    ),
    Case(
        "disk-full-soon",
        {
            f"portside_disk_free_bytes{{{AGENT}}}": rising(600 * GB, -5 * GB, 100),
            **on_agent("portside_disk_kept_bytes", 0),
        },
        fires=70,
        over=99,
    ),
]

CLUSTER_READ = parse(CLUSTER)
CATALOGUE = bounds(CLUSTER_READ).catalogue


def of_case(case: Case, *, silent: bool = False) -> Mapping[str, Any]:
    """As promtool reads it (unit testing rules)."""
    rule = CATALOGUE[case.alert].rule
    unit = int(case.interval.removesuffix("m"))
    firing = f'count(ALERTS{{alertname="{rule}", alertstate="firing"}})'
    told = [{"labels": "{}", "value": case.count}]
    looks: list[tuple[int, Sequence[Any]]] = [
        (case.fires, [] if silent else told),
        (case.over, []),
    ]
    if case.not_yet is not None:
        looks.append((case.not_yet, []))
    return {
        "interval": case.interval,
        "input_series": [{"series": name, "values": text} for name, text in case.series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{step * unit}m", "exp_samples": samples}
            for step, samples in looks
        ],
    }


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("promtool", *arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rules") / "portside-alerts.yml"
    path.write_text(alert_rules(CLUSTER_READ))
    return path


def judged(rules: Path, folder: Path, tests: Sequence[Mapping[str, Any]]) -> str:
    """What promtool says against these tests; empty when they hold."""
    described = folder / "tests.yml"
    described.write_text(
        yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": "1m", "tests": [*tests]})
    )
    run = promtool("test", "rules", str(described))
    return "" if run.returncode == 0 else run.stdout + run.stderr


def test_promtool_takes_every_rule(rules: Path) -> None:
    run = promtool("check", "rules", str(rules))
    assert run.returncode == 0, run.stderr
    assert "SUCCESS" in run.stdout


def test_every_alert_has_a_rule_with_its_urgency_and_its_place_in_the_runbook(rules: Path) -> None:
    read = yaml.safe_load(rules.read_text())
    found = {
        rule["alert"]: rule
        for group in read["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(found) == {alert.rule for alert in CATALOGUE.values()}
    for alert in CATALOGUE.values():
        rule = found[alert.rule]
        assert rule["labels"]["severity"] == alert.severity
        assert rule["annotations"]["runbook"] == alert.runbook
        assert alert.meaning in rule["annotations"]["summary"]


def test_every_alert_is_shown_to_fire() -> None:
    assert sorted(case.alert for case in CASES) == sorted(CATALOGUE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_a_rule_fires_by_its_cause_and_ends_with_it(
    rules: Path, tmp_path: Path, case: Case
) -> None:
    assert judged(rules, tmp_path, [of_case(case)]) == ""


def test_what_is_not_wrong_is_not_told(rules: Path, tmp_path: Path) -> None:
    assert judged(rules, tmp_path, [of_case(case, silent=True) for case in SILENT]) == ""


def test_what_the_cluster_file_says_of_silence_and_scrubbing_is_what_is_alerted_of() -> None:
    said = "control: {dead_after: 5m, repair_after: 1h}\nscrub: {every: 10d}\n"
    text = alert_rules(parse(CLUSTER + said))
    assert "portside_control_node_silent_seconds > 300" in text
    assert f"portside_scrub_age_seconds > {15 * DAY}" in text
    assert "for: 2h" in text


def test_what_counts_as_broken_is_among_the_nodes_problems() -> None:
    assert set(slugs()) >= outcomes.BROKEN | outcomes.RESUMING
    assert not outcomes.BROKEN & outcomes.RESUMING


def metrics_of(text: str) -> set[str]:
    return set(re.findall(r"\bportside_[a-z_]+", re.sub(r"^ *#.*$", "", text, flags=re.MULTILINE)))


def test_rules_ask_for_metrics_that_are_there(rules: Path, served: set[str]) -> None:
    assert metrics_of(rules.read_text()) - served == set()


@pytest.fixture
def served(tmp_path: Path) -> set[str]:
    """The names on the metrics pages of a node and of a control plane with all that it may have."""
    return {
        sample.name
        for registry in (_of_node(tmp_path / "node"), _of_control_plane(tmp_path / "control"))
        for family in registry.collect()
        for sample in family.samples
    }


def _of_node(home: Path) -> CollectorRegistry:
    home.mkdir()
    agent = Agent(home)
    settings = load(home / "agent.toml")
    database = Index(settings.index)
    admission = Admission(agent.root, SMALL_NODE, UploadIndex(database))
    worker_report.write(
        settings.worker_report,
        WorkerReport(
            time=time.time(), uptime=uptime(), certificate=CertificateReport(begins=0, ends=DAY)
        ),
    )
    registry = Metrics().registry
    registry.register(NodeGauges(settings, database, NodeHealth(settings), admission))
    return registry


def _of_control_plane(home: Path) -> CollectorRegistry:
    home.mkdir()
    url = f"sqlite:///{home / 'control.sqlite'}"
    database = Database(url)
    migrate(database)
    core = Core(home, database, url)
    core.all_report()
    registry = CollectorRegistry()
    registry.register(ClusterGauges(core.snapshots, database, core.clock))
    registry.register(BackupGauges(home, core.clock))
    registry.register(ReplicaGauges(home / "nobody-listens.sock", core.clock))
    return registry
