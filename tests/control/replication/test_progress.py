"""How far drains and repair are is told, with what keeps them from going on and a clear end."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.db.database import Database
from control.replication import progress
from portside.quantities import GIB
from portside.wire.control import DrainProgress, RepairView
from tests.support.control.simulation import DOWN, EVERY, GIVEN_UP, Simulation


@pytest.fixture
def cluster(tmp_path: Path, database: Database, database_url: str) -> Simulation:
    return Simulation(tmp_path, database, database_url)


def drain_of(cluster: Simulation, node_id: str = "s01") -> DrainProgress:
    found = cluster.database.read(
        lambda session: progress.of_drain(
            session, cluster.snapshots, cluster.settings, node_id, cluster.clock.now
        )
    )
    assert found is not None
    return found


def repair_of(cluster: Simulation) -> RepairView:
    return cluster.database.read(
        lambda session: progress.of_repair(
            session, cluster.snapshots, cluster.settings, cluster.clock.now
        )
    )


def test_a_drain_says_what_is_left_what_went_and_when_it_is_over(cluster: Simulation) -> None:
    for _ in range(6):
        cluster.has("s01", "s02")
    cluster.has("s02", "s03")
    cluster.goes_on()
    cluster.wants("s01", "draining")
    began = drain_of(cluster)
    assert (began.files_left, began.bytes_left, began.files_gone) == (6, 6000, 0)
    assert (began.bytes_per_second, began.drained) == (None, False)
    assert "s01 still has 6 copies" in began.not_yet[0]
    cluster.goes_on()
    under_way = drain_of(cluster)
    assert under_way.copying == 6
    assert under_way.blocked == ()
    cluster.goes_on_until(lambda: drain_of(cluster).files_left == 0)
    # The catalogue is empty; the node itself has said so with its next heartbeat.
    cluster.goes_on()
    over = drain_of(cluster)
    assert (over.files_gone, over.bytes_gone) == (6, 6000)
    assert over.bytes_per_second is not None
    assert (over.drained, over.not_yet, over.blocked) == (True, (), ())
    cluster.wants("s01", "active")
    assert (
        cluster.database.read(
            lambda session: progress.of_drain(
                session, cluster.snapshots, cluster.settings, "s01", cluster.clock.now
            )
        )
        is None
    )


def test_files_that_have_no_node_to_go_to_say_why_for_each_node(cluster: Simulation) -> None:
    cluster.has("s01", "s02", size=10 * GIB)
    cluster.has("s01", "s02", size=10 * GIB)
    cluster.disks["s03"].free = 1 * GIB
    cluster.wants("s04", "readonly")
    cluster.wants("s01", "draining")
    cluster.goes_on(2 * EVERY)
    assert drain_of(cluster).blocked == (
        "2 files have no node to go to: s03 has 1.0 GiB of room left; "
        "s04 takes none (readonly: as an operator wants it)",
    )


def test_files_that_cant_be_copied_or_whose_other_copies_are_away_say_so(
    cluster: Simulation,
) -> None:
    cluster.has("s01", "s02")
    for node_id in ("s03", "s04"):
        cluster.disks[node_id].refuses = True
    cluster.wants("s01", "draining")
    cluster.goes_on_until(lambda: bool(drain_of(cluster).blocked))
    (failing,) = drain_of(cluster).blocked
    assert failing.startswith("1 file has failed to be copied to s0")
    assert failing.endswith(": refused")


def test_a_drain_that_needs_a_node_that_is_down_waits_for_it(cluster: Simulation) -> None:
    cluster.has("s01", "s02")
    cluster.disks["s02"].up = False
    cluster.goes_on(DOWN)
    cluster.wants("s01", "draining")
    cluster.goes_on(2 * EVERY)
    assert drain_of(cluster).blocked == ("1 file has to wait for copies on s02, which is down",)


def test_a_node_that_tells_of_more_than_is_known_here_is_not_drained(cluster: Simulation) -> None:
    cluster.wants("s01", "draining")
    cluster.disks["s01"].files.add("f" * 32)
    cluster.goes_on()
    found = drain_of(cluster)
    assert (found.files_left, found.drained) == (0, False)
    assert "s01 itself says that it has 1 files" in found.not_yet[0]
    cluster.disks["s01"].files.clear()
    cluster.reports("s01", scrub_damaged=2)
    assert "2 files in quarantine" in drain_of(cluster).not_yet[0]
    cluster.goes_on()
    assert drain_of(cluster).drained


def test_repair_says_what_lacks_copies_and_what_is_done_about_it(cluster: Simulation) -> None:
    assert repair_of(cluster).short == ()
    for _ in range(3):
        cluster.has("s01", "s02")
    cluster.has("s01", "s02", size=10 * GIB)
    for node_id in ("s03", "s04"):
        cluster.disks[node_id].free = 1 * GIB
    cluster.disks["s02"].up = False
    cluster.disks["s01"].obeys = False
    cluster.goes_on(GIVEN_UP)
    found = repair_of(cluster)
    assert [(each.present, each.files) for each in found.short] == [(1, 4)]
    assert found.short[0].bytes == 3000 + 10 * GIB
    assert (found.waiting + found.leased, found.given_up) == (3, ("s02",))
    assert found.oldest is not None
    (blocked,) = found.blocked
    assert blocked.startswith("1 file has no node to go to: s02 takes none (down: last heard")
    assert blocked.endswith("s03 has 1.0 GiB of room left; s04 has 1.0 GiB of room left")
    cluster.disks["s01"].obeys = True
    for node_id in ("s03", "s04"):
        cluster.disks[node_id].free = 80 * GIB
    cluster.goes_on_until(lambda: repair_of(cluster).short == ())
