"""What Prometheus reads of a node that is in trouble, and of a worker that has reported or not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from agent.api.metrics_page import NodeGauges
from agent.index.database import Database
from agent.index.uploads import UploadIndex
from agent.settings import load
from agent.telemetry import worker_report
from agent.telemetry.health import NodeHealth
from agent.telemetry.worker_report import ScrubReport, WorkerReport
from agent.uploads.admission import Admission
from portside.clock import uptime
from tests.support.agent.process import SMALL_NODE, Agent


class Node:
    """A node's parts without a process."""

    def __init__(self, home: Path) -> None:
        agent = Agent(home)
        self.settings = load(home / "agent.toml")
        self.database = Database(self.settings.index)
        self.health = NodeHealth(self.settings)
        admission = Admission(agent.root, SMALL_NODE, UploadIndex(self.database))
        self._registry = CollectorRegistry()
        self._registry.register(NodeGauges(self.settings, self.database, self.health, admission))

    def read(self, name: str, **labels: str) -> float | None:
        """One reading, as Prometheus would see it now."""
        return self._registry.get_sample_value(f"portside_{name}", labels)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_read_only_node_says_why(node: Node) -> None:
    assert node.read("accepting_uploads") == 1
    assert node.read("read_only", reason="disk-failed") is None
    node.health.fault("disk-failed", "an I/O error")
    assert node.read("accepting_uploads") == 0
    assert node.read("read_only", reason="disk-failed") == 1


def test_the_workers_figures_come_from_its_report(node: Node) -> None:
    assert node.read("worker_report_age_seconds") is None
    report = WorkerReport(
        time=time.time(),
        uptime=uptime() - 100,
        warnings=("disk-slow: very",),
        scrub=ScrubReport(files_verified=7, bytes_read=700, damaged=2, quarantined=1),
    )
    worker_report.write(node.settings.worker_report, report)
    assert 100 <= (node.read("worker_report_age_seconds") or 0) < 160
    assert node.read("worker_warnings") == 1
    assert node.read("scrubbed_files_total") == 7
    assert node.read("scrubbed_bytes_total") == 700
    assert node.read("damaged_files_total") == 2
    assert node.read("quarantined_files") == 1


def test_a_report_that_a_power_cut_emptied_is_no_report(node: Node) -> None:
    node.settings.worker_report.write_bytes(b"")
    assert node.read("worker_report_age_seconds") is None
    assert node.read("slots_limit") == SMALL_NODE.upload_slots


def test_an_empty_node_has_no_files_of_no_bytes(node: Node) -> None:
    assert (node.read("files"), node.read("files_bytes")) == (0, 0)
    assert node.read("deliveries", state="dead") == 0
    for kind in ("whole", "part", "final"):
        assert node.read("resumable_uploads", kind=kind) == 0


def test_counting_files_reads_an_index_and_no_rows(node: Node) -> None:
    query = "SELECT count(*), sum(size) FROM files WHERE state = 'COMMITTED'"
    plan = node.database.rows(f"EXPLAIN QUERY PLAN {query}")
    assert "COVERING INDEX files_by_size" in str(plan)
