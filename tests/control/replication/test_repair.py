"""Repair: what is away for long is copied again, once, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select

from control.db.database import Database
from control.db.models import Node, Work
from control.files import service
from control.replication.cluster_view import OUTSTANDING
from control.replication.policy import LARGE, LEAST_LOAD
from tests.support.control.simulation import DOWN, EVERY, GIVEN_UP, Simulation


@pytest.fixture
def cluster(tmp_path: Path, database: Database, database_url: str) -> Simulation:
    return Simulation(tmp_path, database, database_url)


FEW = 2
"""As many large files at a time: 16 small ones."""


def copied(cluster: Simulation) -> int:
    return sum(len(disk.received) for disk in cluster.disks.values())


def test_a_dead_nodes_files_are_copied_again_after_the_delay(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(5)]
    cluster.disks["s01"].up = False
    cluster.goes_on(DOWN + EVERY)
    assert copied(cluster) == 0
    cluster.goes_on_until(lambda: copied(cluster) == len(files))
    cluster.goes_on(3 * EVERY)
    for file_id in files:
        assert cluster.file(file_id).present == 2
        assert len(cluster.holders(file_id) - {"s01"}) == 2
    assert copied(cluster) == len(files)
    cluster.counts_are_right()


def test_a_flapping_node_causes_no_copying(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02")
    for _ in range(3):
        cluster.disks["s01"].up = False
        cluster.goes_on(DOWN)
        assert cluster.snapshots.current().nodes["s01"].state == "down"
        cluster.disks["s01"].up = True
        cluster.goes_on(2 * EVERY)
    assert copied(cluster) == 0
    assert cluster.holders(file_id) == {"s01", "s02"}
    assert cluster.database.read(lambda session: session.scalars(select(Work)).all()) == []


def test_receipts_in_any_order_cause_no_copying(cluster: Simulation) -> None:
    session = cluster.opens()
    (replica,) = session.replicas
    both = {session.node_id, replica}
    for node_id in both:
        cluster.disks[node_id].files.add(session.file_id)
    cluster.takes(cluster.nodes.receipt_of(session, cluster.clock.now, replica))
    cluster.goes_on(5 * EVERY)
    cluster.takes(cluster.nodes.receipt_of(session, cluster.clock.now))
    cluster.goes_on(5 * EVERY)
    assert copied(cluster) == 0
    assert cluster.holders(session.file_id) == both
    cluster.counts_are_right()


@pytest.mark.parametrize(
    ("size", "outstanding", "limit"),
    [(LARGE, OUTSTANDING, OUTSTANDING), (1000, FEW, int(FEW / LEAST_LOAD))],
)
def test_no_node_has_more_work_than_the_limit_and_all_is_done_in_the_end(
    cluster: Simulation, monkeypatch: pytest.MonkeyPatch, size: int, outstanding: int, limit: int
) -> None:
    monkeypatch.setattr("control.replication.cluster_view.OUTSTANDING", outstanding)
    files = [cluster.has("s01", "s02", size=size) for _ in range(limit + 3)]
    cluster.disks["s01"].up = False
    cluster.disks["s02"].obeys = False
    cluster.goes_on(GIVEN_UP + 2 * EVERY)
    waiting = cluster.database.read(
        lambda session: session.scalars(select(Work).where(Work.state != "failed")).all()
    )
    assert len(waiting) == limit
    cluster.disks["s02"].obeys = True
    cluster.goes_on_until(lambda: all(cluster.file(each).present == 2 for each in files))
    assert copied(cluster) == len(files)
    cluster.counts_are_right()


def test_files_with_the_fewest_copies_come_first(
    tmp_path: Path, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Four small files at a time: who comes second waits.
    monkeypatch.setattr("control.replication.cluster_view.OUTSTANDING", 4 * LEAST_LOAD)
    cluster = Simulation(tmp_path, database, database_url, factor=3)
    few = [cluster.has("s01", "s04", file_id=f"f{number:07x}" + "0" * 24) for number in range(4)]
    many = [
        cluster.has("s01", "s02", "s04", file_id=f"0{number:07x}" + "0" * 24) for number in range(4)
    ]
    # Nobody has room until all of them lack a copy.
    cluster.disks["s02"].free = cluster.disks["s03"].free = 0
    cluster.disks["s04"].up = False
    cluster.goes_on(GIVEN_UP)
    assert copied(cluster) == 0
    cluster.disks["s03"].free = 1 << 30
    cluster.goes_on_until(lambda: copied(cluster) >= 8)
    order = [each for disk in cluster.disks.values() for each in disk.received]
    assert set(order[:4]) == set(few)
    assert set(order) >= set(many)


def test_copies_count_again_when_their_node_returns_and_the_surplus_goes(
    cluster: Simulation,
) -> None:
    files = [cluster.has("s01", "s02") for _ in range(5)]
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP)
    cluster.goes_on_until(lambda: all(cluster.file(each).present == 2 for each in files))
    assert copied(cluster) == len(files)
    cluster.lowest.clear()
    cluster.disks["s01"].up = True
    cluster.goes_on_until(lambda: all(len(cluster.holders(each)) == 2 for each in files))
    cluster.never_below(2, files)
    cluster.goes_on(3 * EVERY)
    assert all(cluster.file(each).present == 2 for each in files)
    cluster.counts_are_right()


def test_what_was_deleted_while_its_node_was_given_up_goes_when_the_node_returns(
    cluster: Simulation,
) -> None:
    file_id, kept = cluster.has("s01", "s02"), cluster.has("s01", "s02")
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP + 5 * EVERY)
    cluster.on_file(
        file_id, lambda session, file: service.delete_everywhere(session, file, cluster.clock.now)
    )
    cluster.goes_on_until(lambda: cluster.file(file_id).state == "deleted")
    assert cluster.holders(file_id) == {"s01"}
    cluster.disks["s01"].up = True
    cluster.goes_on_until(lambda: cluster.holders(file_id) == set())
    cluster.goes_on_until(lambda: cluster.file(file_id).state == "deleted")
    cluster.goes_on_until(lambda: len(cluster.holders(kept)) == 2)
    cluster.counts_are_right()


def test_a_node_that_returns_empty_takes_no_good_copy_with_it(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(5)]
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP)
    cluster.goes_on_until(lambda: all(cluster.file(each).present == 2 for each in files))
    cluster.disks["s01"].files.clear()
    cluster.lowest.clear()
    cluster.disks["s01"].up = True
    cluster.goes_on(6 * EVERY)
    cluster.never_below(2, files)
    assert all(cluster.file(each).present == 2 for each in files)
    assert all(len(cluster.holders(each)) == 2 for each in files)


def test_a_node_that_returns_empty_before_anything_was_copied_is_found_out(
    cluster: Simulation,
) -> None:
    """Nobody had room meanwhile: its copies count again, but their surplus is never relied on."""
    file_id = cluster.has("s01", "s02")
    for node_id in ("s03", "s04"):
        cluster.disks[node_id].free = 0
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP)
    assert cluster.file(file_id).present == 1
    cluster.disks["s01"].up = True
    cluster.goes_on(2 * EVERY)
    assert cluster.file(file_id).present == 2
    returned = cluster.database.read(
        lambda s: s.scalars(select(Node.returned_at).where(Node.node_id == "s01")).one()
    )
    assert returned is None, "its inventory is what we believe: it has the file"


def test_a_source_that_misses_the_file_is_replaced_by_one_that_has_it(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02", "s03")
    cluster.goes_on(3 * EVERY)
    kept = sorted(cluster.holders(file_id))
    assert len(kept) == 2
    cluster.disks[kept[0]].files.clear()
    cluster.disks[kept[1]].up = False
    # One is down for good, the other one turns out to have nothing: the first must come back.
    cluster.goes_on_until(lambda: cluster.copies(file_id)[kept[0]] == "lost")
    assert cluster.file(file_id).present == 0
    cluster.disks[kept[1]].up = True
    cluster.goes_on_until(lambda: len(cluster.holders(file_id)) == 2)
    cluster.goes_on(2 * EVERY)
    assert cluster.file(file_id).present == 2
    cluster.counts_are_right()


def test_a_push_that_always_fails_goes_to_another_node(cluster: Simulation) -> None:
    file_id = cluster.has("s01", "s02")
    cluster.disks["s03"].refuses = True
    cluster.disks["s04"].free = 0
    cluster.disks["s01"].up = False
    cluster.goes_on(2 * GIVEN_UP)
    assert copied(cluster) == 0
    cluster.disks["s04"].free = 1 << 30
    cluster.goes_on_until(lambda: cluster.file(file_id).present == 2)
    assert cluster.holders(file_id) == {"s01", "s02", "s04"}


def test_two_workers_order_nothing_twice(cluster: Simulation) -> None:
    files = [cluster.has("s01", "s02") for _ in range(6)]
    cluster.workers.append(cluster.worker())
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP)
    cluster.goes_on_until(lambda: all(cluster.file(each).present == 2 for each in files))
    cluster.goes_on(3 * EVERY)
    assert copied(cluster) == len(files)
    cluster.counts_are_right()


def test_another_file_on_the_path_keeps_a_node_from_being_chosen(cluster: Simulation) -> None:
    path = "files/the-same.iso"
    file_id, other = cluster.has("s01", "s02", path=path), cluster.has("s03", path=path)
    # The other one lacks a copy, which can't go anywhere either.
    cluster.disks["s04"].free = 0
    cluster.disks["s01"].up = False
    cluster.goes_on(GIVEN_UP)
    assert cluster.file(file_id).present == 1
    assert copied(cluster) == 0
    assert cluster.holders(other) == {"s03"}
