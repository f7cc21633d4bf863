"""Each alert holds by its cause, and not without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control.alerts.judgement import CLUSTER, judge
from control.alerts.readings import ClusterReading, NodeReading, Sample
from portside.alerting.catalogue import Bounds
from tests.support.control.cluster import FakeNodes

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BOUNDS = Bounds(dead_after=90, repair_after=900, scrub_every=30 * 86400)
GB = 10**9
DAY = 86400
NODES = FakeNodes(["s01"])
HEALTHY: dict[str, Any] = {
    "memory_total": 8 * GB,
    "memory_available": 6 * GB,
    "inodes": {"free": 900_000, "total": 1_000_000},
    "uploads": {"committed": 1000, "failed": 0, "broken": 0},
    "certificate": {"begins": NOW - timedelta(days=30), "ends": NOW + timedelta(days=60)},
}


def node(
    samples: tuple[Sample, ...] = (),
    silent: float = 5,
    clock_skew: float | None = 0.1,
    **changed: Any,
) -> NodeReading:
    beat = NODES.heartbeat("s01", NOW, **{**HEALTHY, **changed})
    return NodeReading("s01", silent, beat, NOW, clock_skew, samples)


def cluster(*nodes: NodeReading, **changed: Any) -> ClusterReading:
    return replace(ClusterReading(NOW, nodes, backup_age=60.0), **changed)


def found(reading: ClusterReading) -> dict[tuple[str, str], bool | None]:
    return {(each.name, each.subject): each.holds for each in judge(reading, BOUNDS)}


def holding(reading: ClusterReading) -> set[str]:
    return {name for (name, _), holds in found(reading).items() if holds}


def ago(seconds: float, **told: int) -> Sample:
    values = {"disk_free": 80 * GB, "quarantined": 0, "committed": 1000, "failed": 0, "broken": 0}
    return Sample(at=NOW - timedelta(seconds=seconds), **{**values, **told})


def test_of_what_is_well_nothing_holds_and_nothing_is_unknown() -> None:
    told = found(cluster(node()))
    assert set(told.values()) == {False}
    known = {alert.name for alert in BOUNDS.catalogue.values() if alert.told_by == "both"}
    assert {name for name, _ in told} == known


BAD: dict[str, Callable[[], ClusterReading]] = {
    "memory-high": lambda: cluster(node(memory_available=int(1.5 * GB))),
    "memory-short": lambda: cluster(node(memory_total=2 * GB, memory_available=int(0.45 * GB))),
    "disk-nearly-full": lambda: cluster(
        node(disk_total=100 * GB, disk_free=12 * GB, disk_reserved=3 * GB)
    ),
    "inodes-short": lambda: cluster(node(inodes={"free": 99_000, "total": 1_000_000})),
    "disk-full-soon": lambda: cluster(
        node((ago(6 * 3600, disk_free=600 * GB),), disk_free=540 * GB, disk_total=600 * GB)
    ),
    "certificate-ending": lambda: cluster(
        node(
            certificate={"begins": NOW - timedelta(days=70), "ends": NOW + timedelta(days=20)},
        )
    ),
    "clock-off": lambda: cluster(node(clock_skew=-61)),
    "heartbeat-missing": lambda: cluster(node(silent=91)),
    "uploads-failing": lambda: cluster(
        node((ago(600, committed=992),), uploads={"committed": 1000, "failed": 3, "broken": 0})
    ),
    "replication-late": lambda: cluster(node(replication_waiting=3, replication_oldest=3601)),
    "scrub-overdue": lambda: cluster(node(scrub_oldest=45 * DAY + 1)),
    "node-read-only": lambda: cluster(node(accepting=False, reasons=["disk-failed: EIO"])),
    "copies-short": lambda: cluster(node(), files_short=2),
    "backup-old": lambda: cluster(node(), backup_age=3 * 3600 + 1),
    "replica-late": lambda: cluster(node(), replica_trouble="replica-late: 300 s old"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_alert_holds_by_its_cause_alone(name: str) -> None:
    assert holding(BAD[name]()) == {name}


def test_what_comes_together_is_told_together() -> None:
    damaged = cluster(node((ago(3600),), scrub_damaged=1))
    assert holding(damaged) == {"damage-found", "quarantine-waits"}
    # A day later it only waits.
    settled = cluster(node((ago(3600, quarantined=1), ago(100, quarantined=1)), scrub_damaged=1))
    assert holding(settled) == {"quarantine-waits"}
    lost = cluster(node(), files_short=1, files_without_copy=1)
    assert holding(lost) == {"copies-short", "file-without-copy"}
    certificate = {"begins": NOW - timedelta(days=88), "ends": NOW + timedelta(days=2)}
    ending = cluster(node(certificate=certificate))
    assert holding(ending) == {"certificate-ending", "certificate-last-days"}


def test_every_alert_of_the_control_planes_is_shown_to_hold() -> None:
    elsewhere = {"damage-found", "quarantine-waits", "file-without-copy", "certificate-last-days"}
    burns = {"slo-burn", "slo-burn-fast", "slo-burn-slow"}
    known = {alert.name for alert in BOUNDS.catalogue.values() if alert.told_by == "both"}
    assert BAD.keys() | elsewhere | burns == known


@pytest.mark.parametrize(
    "reading",
    [
        # A third of a small node's memory, short-lived certificates, few uploads.
        cluster(node(memory_total=GB, memory_available=int(0.3 * GB))),
        cluster(
            node(certificate={"begins": NOW - timedelta(days=4), "ends": NOW + timedelta(days=2)})
        ),
        cluster(
            node((ago(600, committed=996),), uploads={"committed": 1000, "failed": 4, "broken": 0})
        ),
        # What failed an hour ago.
        cluster(
            node(
                (ago(3600, committed=900), ago(1200, failed=50)),
                uploads={"committed": 1000, "failed": 50, "broken": 0},
            )
        ),
        # Without a bound of inodes; a node that got emptier.
        cluster(node(inodes={})),
        cluster(node((ago(6 * 3600, disk_free=GB),))),
        cluster(node(), backup_age=None),
    ],
)
def test_what_is_near_to_it_is_not_told(reading: ClusterReading) -> None:
    assert holding(reading) == set()


def test_of_a_node_that_is_silent_nothing_else_is_known() -> None:
    told = found(cluster(node(silent=91, accepting=False, memory_available=0)))
    of_node = {name: holds for (name, subject), holds in told.items() if subject == "s01"}
    assert of_node.pop("heartbeat-missing") is True
    assert set(of_node.values()) == {None}
    assert len(of_node) == 14


def test_what_an_older_release_does_not_tell_is_unknown_not_well() -> None:
    told = found(cluster(node(uploads=None, certificate=None, clock_skew=None)))
    unknown = {name for (name, _), holds in told.items() if holds is None}
    assert unknown == {
        *("certificate-ending", "certificate-last-days", "clock-off", "uploads-failing"),
    }


def burning(share: float, over: float, lately: float) -> ClusterReading:
    """100,000 uploads an hour, of which this share broke for `over` seconds, until `lately` ago."""
    samples, committed, broken = [], 0.0, 0.0
    for minute in range(3 * 24 * 60, -1, -5):
        if lately <= minute * 60 <= over + lately:
            broken += share * 100_000 / 12
        committed += (1 - share) * 100_000 / 12
        if minute:
            samples.append(ago(minute * 60, committed=int(committed), broken=int(broken)))
    counts = {"committed": int(committed), "failed": int(broken), "broken": int(broken)}
    return cluster(node(tuple(samples), uploads=counts))


@pytest.mark.parametrize(
    ("share", "over", "lately", "told"),
    [
        (0.02, 3700, 0, {"slo-burn-fast"}),
        # Long enough, but over by now.
        (0.02, 3700, 900, set()),
        (0.02, 300, 0, set()),
        (0.009, 7 * 3600, 0, {"slo-burn"}),
        (0.0015, 3 * DAY, 0, {"slo-burn-slow"}),
        (0.0005, 3 * DAY, 0, set()),
    ],
)
def test_a_budget_that_burns_is_told_by_two_windows(
    share: float, over: float, lately: float, told: set[str]
) -> None:
    assert (
        holding(burning(share, over, lately))
        & {
            "slo-burn-fast",
            "slo-burn",
            "slo-burn-slow",
        }
        == told
    )


def test_two_broken_uploads_wake_nobody() -> None:
    few = cluster(
        node(
            (ago(3600, committed=0), ago(400, committed=0)),
            uploads={"committed": 5, "failed": 2, "broken": 2},
        )
    )
    assert holding(few) == set()


def test_a_cluster_without_nodes_is_judged_all_the_same() -> None:
    assert holding(cluster()) == set()
    assert ("copies-short", CLUSTER) in found(cluster())
