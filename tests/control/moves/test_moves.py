"""Moves between pools: planned, carried out, paused, cancelled, never at the cost of a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from control.db.database import Database
from control.moves import service
from control.moves.worker import MoveRounds
from control.problems import ProblemError
from portside.quantities import GIB
from portside.wire.moves import MovePlan, MoveRequest, MoveView
from tests.support.control.simulation import DOWN, EVERY, Simulation


@pytest.fixture
def cluster(tmp_path: Path, database: Database, database_url: str) -> Simulation:
    return Simulation(tmp_path, database, database_url)


def request(**changed: Any) -> MoveRequest:
    return MoveRequest.model_validate({"source": "s01", "target": "s03", **changed})


def plan(cluster: Simulation, **changed: Any) -> MovePlan:
    return cluster.database.read(
        lambda session: service.plan(
            session, cluster.snapshots, cluster.settings, request(**changed), cluster.clock.now
        )
    )


def begin(cluster: Simulation, **changed: Any) -> str:
    return cluster.database.write(
        lambda session: (
            service.create(
                session,
                cluster.snapshots,
                cluster.settings,
                request(**changed),
                "operator",
                cluster.clock.now,
            ).move_id
        )
    )


def view(cluster: Simulation, move_id: str) -> MoveView:
    return cluster.database.read(lambda session: service.view(session, move_id, cluster.clock.now))


def command(cluster: Simulation, move_id: str, wish: Any) -> None:
    cluster.database.write(
        lambda session: service.command(session, move_id, wish, cluster.clock.now)
    )


def ends(cluster: Simulation, move_id: str) -> MoveView:
    cluster.goes_on_until(lambda: view(cluster, move_id).state == "done")
    # What is removed at the source is removed by then or soon.
    cluster.goes_on(3 * EVERY)
    return view(cluster, move_id)


def refused(cluster: Simulation, **changed: Any) -> str:
    with pytest.raises(ProblemError) as problem:
        begin(cluster, **changed)
    assert problem.value.detail
    return problem.value.slug


def test_a_move_brings_every_file_to_its_target(
    cluster: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control.moves.worker.TAKEN", 3)
    files = [cluster.has("s01", "s02") for _ in range(10)]
    move_id = begin(cluster)
    assert view(cluster, move_id).state == "planned"
    ended = ends(cluster, move_id)
    assert all(cluster.holders(each) == {"s02", "s03"} for each in files)
    progress = ended.progress
    assert (progress.planned, progress.done, progress.failed, progress.skipped) == (10, 10, 0, 0)
    assert (progress.planned_bytes, progress.done_bytes) == (10_000, 10_000)
    assert ended.started_at is not None
    assert ended.ended_at is not None
    cluster.never_below(2, files)
    cluster.counts_are_right()


def test_a_plan_counts_and_changes_nothing(cluster: Simulation) -> None:
    path = "files/taken.iso"
    cluster.has("s01", "s02")
    cluster.has("s01", "s03")
    cluster.has("s01", "s02", path=path)
    cluster.has("s03", "s04", path=path)
    assert plan(cluster) == MovePlan(
        files=3,
        bytes=3000,
        already_there=1,
        conflicts=1,
        target_free=80 * GIB,
        fits=True,
        reachable=True,
        obstacles=(),
    )
    assert cluster.database.read(lambda session: service.views(session, cluster.clock.now)) == []


def test_a_filter_leaves_the_rest_where_it_is(cluster: Simulation) -> None:
    now = cluster.clock.now
    old = cluster.has("s01", "s02", size=5000, committed_at=now - timedelta(days=2))
    small = cluster.has("s01", "s02", size=10, committed_at=now - timedelta(days=2))
    young = cluster.has("s01", "s02", size=5000)
    elsewhere = cluster.has(
        "s01", "s02", path="isos/a.iso", size=5000, committed_at=now - timedelta(days=2)
    )
    chosen = {"namespace": "files", "older_than": 86_400, "min_size": 1000}
    assert plan(cluster, **chosen).files == 1
    ends(cluster, begin(cluster, **chosen))
    assert cluster.holders(old) == {"s02", "s03"}
    for file_id in (small, young, elsewhere):
        assert cluster.holders(file_id) == {"s01", "s02"}


def test_the_reference_switches_with_the_targets_receipt(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02")
    begin(cluster)
    MoveRounds(cluster.database, cluster.settings, cluster.snapshots).round(cluster.clock.now)
    assert cluster.copies(file_id) == {"s01": "present", "s02": "present", "s03": "copying"}
    file = cluster.file(file_id)
    cluster.takes(cluster.nodes.receipt("s03", cluster.clock.now, file_id=file_id, path=file.path))
    assert cluster.copies(file_id) == {"s01": "deleting", "s02": "present", "s03": "present"}


def test_what_the_target_has_is_switched_without_copying(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02", "s03")
    move_id = begin(cluster)
    MoveRounds(cluster.database, cluster.settings, cluster.snapshots).round(cluster.clock.now)
    assert view(cluster, move_id).progress.done == 1
    assert cluster.copies(file_id)["s01"] == "deleting"
    assert cluster.disks["s03"].received == []


def test_a_file_that_source_and_target_have_gets_a_copy_elsewhere(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s03")
    ended = ends(cluster, begin(cluster))
    assert ended.progress.done == 1
    holders = cluster.holders(file_id)
    assert "s03" in holders
    assert len(holders - {"s01"}) == 2
    cluster.never_below(2, [file_id])


def test_another_file_on_the_targets_path_is_skipped_and_reported(cluster: Simulation) -> None:
    path = "files/taken.iso"
    mine, other = cluster.has("s01", "s02", path=path), cluster.has("s03", "s04", path=path)
    ended = ends(cluster, begin(cluster))
    assert (ended.progress.done, ended.progress.skipped) == (0, 1)
    assert [(each.file_id, each.outcome) for each in ended.reports] == [(mine, "skipped")]
    assert other in ended.reports[0].detail
    assert cluster.holders(mine) == {"s01", "s02"}


def test_a_file_that_the_source_misses_is_reported_and_not_lost(cluster: Simulation) -> None:
    missing, there = cluster.has("s01", "s02"), cluster.has("s01", "s02")
    cluster.disks["s01"].files.remove(missing)
    ended = ends(cluster, begin(cluster))
    assert (ended.progress.done, ended.progress.skipped) == (1, 1)
    assert ended.reports[0].file_id == missing
    assert "missing" in ended.reports[0].detail
    assert cluster.holders(there) == {"s02", "s03"}
    cluster.goes_on_until(lambda: cluster.file(missing).present == 2)


def test_the_sources_copy_stays_while_another_copy_is_away(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    cluster = Simulation(tmp_path, database, database_url, repair_after=100_000)
    file_id = cluster.has("s01", "s02")
    cluster.disks["s02"].up = False
    cluster.goes_on(DOWN)
    move_id = begin(cluster)
    cluster.goes_on_until(lambda: view(cluster, move_id).progress.waiting == 1)
    assert cluster.holders(file_id) == {"s01", "s02", "s03"}
    cluster.disks["s02"].up = True
    ends(cluster, move_id)
    assert cluster.holders(file_id) == {"s02", "s03"}


def test_pause_resume_and_cancel(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(9)]
    move_id = begin(cluster)
    cluster.goes_on()
    command(cluster, move_id, "pause")
    cluster.goes_on(3 * EVERY)
    moved = [each for each in files if "s03" in cluster.holders(each)]
    assert 0 < len(moved) < len(files)
    paused = view(cluster, move_id)
    assert (paused.state, paused.progress.done) == ("paused", len(moved))
    command(cluster, move_id, "resume")
    cluster.goes_on()
    for disk in cluster.disks.values():
        disk.obeys = False
    cluster.goes_on(2 * EVERY)
    command(cluster, move_id, "cancel")
    for disk in cluster.disks.values():
        disk.obeys = True
    cluster.goes_on_until(lambda: all(len(cluster.holders(each)) == 2 for each in files))
    cluster.goes_on(3 * EVERY)
    assert view(cluster, move_id).state == "cancelled"
    assert any("s01" in cluster.holders(each) for each in files)
    cluster.never_below(2, files)
    cluster.counts_are_right()
    with pytest.raises(ProblemError, match="cancelled: it can't be told to resume"):
        command(cluster, move_id, "resume")


def test_only_as_many_files_as_its_rate_allows_are_in_hand(cluster: Simulation) -> None:
    for _ in range(6):
        cluster.has("s01", "s02")
    for disk in cluster.disks.values():
        disk.obeys = False
    begin(cluster, bytes_per_second=100_000)
    cluster.goes_on(2 * EVERY)
    leases = cluster.disks["s01"].leases
    assert [each.bytes_per_second for each in leases] == [100_000]


def test_outside_of_its_hours_a_move_orders_nothing(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02")
    now = cluster.clock.now.astimezone(UTC)

    def clock(moment: datetime) -> str:
        return f"{moment:%H:%M}"

    later = now + timedelta(hours=2)
    hours = f"{clock(later)}-{clock(later + timedelta(hours=1))}"
    move_id = begin(cluster, hours=hours)
    cluster.goes_on(3 * EVERY)
    waiting = view(cluster, move_id)
    assert (waiting.state, waiting.hours, waiting.progress.done) == ("running", hours, 0)
    assert waiting.note is not None
    assert "outside of its hours" in waiting.note
    command(cluster, move_id, "cancel")
    ends(cluster, begin(cluster, hours=f"{clock(now)}-{clock(later)}"))
    assert cluster.holders(file_id) == {"s02", "s03"}


def test_a_worker_that_dies_is_followed_by_one_that_goes_on(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)]
    move_id = begin(cluster)
    cluster.workers = []
    while view(cluster, move_id).state != "done":
        # Two at a time, that both remember nothing.
        cluster.workers = [cluster.worker(), cluster.worker()]
        cluster.goes_on()
    assert view(cluster, move_id).progress.done == len(files)
    assert len(cluster.disks["s03"].received) == len(files)
    cluster.never_below(2, files)


def test_a_target_that_is_down_is_waited_for(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02")
    move_id = begin(cluster)
    cluster.disks["s03"].up = False
    cluster.goes_on(DOWN)
    assert "s03: down" in (view(cluster, move_id).note or "")
    assert cluster.holders(file_id) == {"s01", "s02"}
    cluster.disks["s03"].up = True
    cluster.goes_on_until(lambda: cluster.holders(file_id) == {"s02", "s03"})


def test_unknown_pools_moves_onto_themselves_and_second_moves_are_refused(
    cluster: Simulation,
) -> None:
    cluster.has("s01", "s02")
    assert refused(cluster, source="s99") == "pool-unknown"
    assert refused(cluster, target="s99") == "pool-unknown"
    assert refused(cluster, target="s01") == "move-onto-itself"
    assert refused(cluster, hours="25:00-26:00") == "malformed-request"
    move_id = begin(cluster)
    assert refused(cluster) == "move-conflict"
    assert refused(cluster, source="s03", target="s04") == "move-conflict"
    assert refused(cluster, source="s04", target="s01") == "move-conflict"
    command(cluster, move_id, "cancel")
    begin(cluster)
    with pytest.raises(ProblemError) as unknown:
        command(cluster, "nothing", "pause")
    assert unknown.value.slug == "move-unknown"


def test_a_target_without_space_or_out_of_reach_is_an_obstacle(cluster: Simulation) -> None:
    cluster.has("s01", "s02", size=10 * GIB)
    cluster.disks["s03"].free = 2 * GIB
    cluster.nodes_report()
    assert not plan(cluster).fits
    assert refused(cluster) == "move-impossible"
    cluster.disks["s03"].up = False
    cluster.goes_on(DOWN)
    assert not plan(cluster).reachable
    assert refused(cluster) == "move-impossible"
    cluster.wants("s04", "draining")
    assert plan(cluster, target="s04").obstacles != ()


def test_a_rebalance_brings_the_nodes_together_and_ends(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02", size=4 * GIB) for _ in range(8)]
    move_id = begin(cluster, kind="rebalance", source=None, target=None, band=0.1)
    assert refused(cluster) == "move-conflict"
    ended = ends(cluster, move_id)
    assert ended.progress.failed == 0
    stored = {node_id: cluster.pool(node_id)[2] // GIB for node_id in cluster.disks}
    assert max(stored.values()) - min(stored.values()) <= 12
    assert all(len(cluster.holders(each)) == 2 for each in files)
    cluster.never_below(2, files)
    cluster.counts_are_right()
