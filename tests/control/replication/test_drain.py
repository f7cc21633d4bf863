"""Draining and retiring: every file ends on enough other nodes, none is ever below its factor."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from control.db.database import Database
from control.db.models import File
from control.problems import ProblemError
from control.replication import draining
from control.worker import expiry
from portside.quantities import GIB
from portside.wire.control import Holding
from tests.support.control.simulation import DOWN, EVERY, Simulation


@pytest.fixture
def cluster(tmp_path: Path, database: Database, database_url: str) -> Simulation:
    return Simulation(tmp_path, database, database_url)


def holding(cluster: Simulation, node_id: str) -> Holding:
    return cluster.database.read(lambda session: draining.holding(session, node_id))


def must_be_empty(cluster: Simulation, node_id: str) -> None:
    """As a wish to retire it asks."""
    cluster.database.read(
        lambda session: draining.must_be_empty(
            session, node_id, cluster.clock.now, cluster.settings.dead_after
        )
    )


def drain(cluster: Simulation, node_id: str) -> None:
    """As the API does: asked for first, then wanted."""
    cluster.database.read(
        lambda session: draining.must_be_drainable(
            session, cluster.snapshots, cluster.settings, node_id
        )
    )
    cluster.wants(node_id, "draining")


def test_a_drained_nodes_files_end_on_others_and_never_have_too_few_copies(
    cluster: Simulation,
) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)] + [cluster.has("s02", "s03")]
    assert holding(cluster, "s01") == Holding(files=6, bytes=6_000, waiting=0, open_sessions=0)
    drain(cluster, "s01")
    cluster.goes_on()
    assert 0 < holding(cluster, "s01").waiting <= 6
    cluster.goes_on_until(lambda: holding(cluster, "s01").files == 0)
    cluster.never_below(2, files)
    for file_id in files:
        assert len(cluster.holders(file_id) - {"s01"}) == 2
    must_be_empty(cluster, "s01")
    cluster.counts_are_right()


def test_held_files_are_drained_as_any_and_ended_ones_go_with_their_grace(
    cluster: Simulation,
) -> None:
    plain, held, ended = (cluster.has("s01", "s02") for _ in range(3))
    over = cluster.clock.now - timedelta(seconds=1)
    changes = (
        update(File).where(File.file_id == held).values(held=True),
        update(File).where(File.file_id == ended).values(expires_at=over),
    )
    cluster.database.write(lambda session: [session.execute(each) for each in changes])
    drain(cluster, "s01")
    cluster.goes_on_until(lambda: holding(cluster, "s01").files == 1)
    for file_id in (plain, held):
        assert len(cluster.holders(file_id) - {"s01"}) == 2
    # It may be taken back: nothing of it goes, and nobody gets it.
    assert cluster.holders(ended) == {"s01", "s02"}
    assert expiry.end_files(cluster.database, cluster.clock.now, 0.0) == 1
    cluster.goes_on_until(lambda: holding(cluster, "s01").files == 0)
    assert cluster.holders(ended) == set()
    must_be_empty(cluster, "s01")
    cluster.counts_are_right()


def test_uploads_that_end_during_a_drain_are_copied_away_as_well(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02")]
    session = cluster.opens()
    while session.node_id != "s01":
        session = cluster.opens()
    drain(cluster, "s01")
    cluster.goes_on(3 * EVERY)
    assert holding(cluster, "s01").open_sessions > 0
    with pytest.raises(ProblemError, match="open sessions") as refused:
        must_be_empty(cluster, "s01")
    assert refused.value.slug == "node-in-use"
    cluster.disks["s01"].files.add(session.file_id)
    files.append(cluster.takes(cluster.nodes.receipt_of(session, cluster.clock.now)))
    # Its first copy elsewhere is pushed by the node itself.
    (replica,) = session.replicas
    cluster.disks[replica].files.add(session.file_id)
    cluster.takes(cluster.nodes.receipt_of(session, cluster.clock.now, replica))
    cluster.goes_on_until(lambda: holding(cluster, "s01").files == 0)
    for file_id in files:
        assert len(cluster.holders(file_id) - {"s01"}) == 2


def test_a_draining_node_gets_no_sessions(cluster: Simulation) -> None:
    drain(cluster, "s01")
    assert "s01" not in {cluster.opens().node_id for _ in range(20)}


def test_undrain_stops_it_and_leaves_each_file_its_factor(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)]
    for disk in cluster.disks.values():
        disk.obeys = False
    drain(cluster, "s01")
    cluster.goes_on(2 * EVERY)
    cluster.wants("s01", "active")
    for disk in cluster.disks.values():
        disk.obeys = True
    cluster.goes_on_until(lambda: all(len(cluster.holders(each)) == 2 for each in files))
    cluster.goes_on(3 * EVERY)
    assert all(cluster.file(each).present == 2 for each in files)
    assert holding(cluster, "s01").waiting == 0
    assert holding(cluster, "s01").files > 0
    cluster.never_below(2, files)
    cluster.counts_are_right()


def test_two_drains_at_once_work_where_there_is_space(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)] + [cluster.has("s02", "s03")]
    drain(cluster, "s01")
    drain(cluster, "s02")
    cluster.goes_on_until(
        lambda: holding(cluster, "s01").files + holding(cluster, "s02").files == 0
    )
    cluster.never_below(2, files)
    assert all(cluster.holders(each) == {"s03", "s04"} for each in files)


def test_a_drain_that_leaves_too_few_nodes_is_refused(cluster: Simulation) -> None:
    cluster.has("s01", "s02")
    drain(cluster, "s03")
    drain(cluster, "s01")
    with pytest.raises(ProblemError, match="undrain s01 and s03 first") as refused:
        drain(cluster, "s02")
    assert refused.value.slug == "drain-impossible"


def test_a_second_drain_without_space_for_both_is_refused(cluster: Simulation) -> None:
    cluster.has("s01", "s02", size=10 * GIB)
    for node_id in ("s03", "s04"):
        cluster.disks[node_id].free = 6 * GIB
    cluster.nodes_report()
    cluster.disks["s02"].free = 6 * GIB
    drain(cluster, "s01")
    with pytest.raises(ProblemError, match=r"20\.0 GiB.*undrain s01 first"):
        drain(cluster, "s02")


def test_a_drain_waits_while_a_copy_isnt_reachable(cluster: Simulation) -> None:
    """Nothing goes that the invariant needs, however long it takes."""
    files = [cluster.has("s01", "s02") for _ in range(3)]
    cluster.disks["s02"].up = False
    cluster.goes_on(DOWN)
    drain(cluster, "s01")
    cluster.goes_on(2 * EVERY)
    assert all("s01" in cluster.holders(each) for each in files)
    cluster.disks["s02"].up = True
    cluster.lowest.clear()
    cluster.goes_on_until(lambda: holding(cluster, "s01").files == 0)
    cluster.never_below(2, files)


def test_a_worker_that_dies_in_a_drain_is_followed_by_one_that_goes_on(
    cluster: Simulation,
) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)]
    drain(cluster, "s01")
    for _ in range(6):
        # Each round is by a worker that remembers nothing.
        cluster.workers = [cluster.worker()]
        cluster.goes_on()
    assert holding(cluster, "s01").files == 0
    cluster.never_below(2, files)


def test_a_lost_node_can_be_retired_by_force_and_its_files_are_repaired_at_once(
    cluster: Simulation,
) -> None:
    files = [cluster.has("s01", "s02") for _ in range(3)]
    cluster.disks["s01"].up = False
    with pytest.raises(ProblemError, match="'force' for a node that is lost"):
        must_be_empty(cluster, "s01")
    cluster.wants("s01", "retired")
    cluster.goes_on(2 * EVERY)
    cluster.goes_on_until(lambda: all(cluster.file(each).present == 2 for each in files))
    assert all(len(cluster.holders(each) - {"s01"}) == 2 for each in files)
    cluster.counts_are_right()
