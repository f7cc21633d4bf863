"""Files that a node deleted or found damaged by itself: the cluster hears of it, once."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy.orm import Session as Transaction

from control.catalogue import copies
from control.cluster.reach import EVERYTHING
from control.db.database import Database
from control.files import receipts, service, serving
from control.problems import ProblemError
from control.replication import leases
from portside.wire.heartbeat import GoneFile, HeartbeatAnswer, WhyGone
from tests.support.control.cluster import done
from tests.support.control.core import APP, Core
from tests.support.control.orders import ordered
from tests.support.control.simulation import Simulation


def says(core: Core, node_id: str, file_id: str, why: WhyGone) -> HeartbeatAnswer:
    gone = GoneFile(file_id=file_id, why=why)
    return core.reports(node_id, gone=(ordered(core, node_id, gone) if why == "deleted" else gone,))


def served_by(core: Core, file_id: str) -> str:
    snapshot = core.snapshots.current()
    url = core.database.read(
        lambda session: serving.fetch(
            session, snapshot, core.settings, None, file_id, core.clock.now, EVERYTHING
        )
    )
    return url.node_id


def orders_repair(core: Core, file_id: str, source: str, target: str) -> str:
    """Have a copy made; returns the lease's id."""
    lease_id = core.on_file(
        file_id,
        lambda session, file: leases.order_copy(
            session, file, source, target, target, "repair", core.clock.now
        ),
    )
    assert lease_id is not None
    return lease_id


def copies_back(core: Core, file_id: str, source: str, target: str) -> None:
    """A leased push makes the target's copy again."""
    lease_id = orders_repair(core, file_id, source, target)
    core.reports(source)
    file = core.file(file_id)
    receipt = core.nodes.receipt(
        target, core.clock.now, file_id=file_id, jti=file.session_id, committed_at=file.committed_at
    )
    core.reports(source, work=[done(lease_id, receipt=receipt)])


def test_a_file_deleted_at_one_node_is_deleted_everywhere(core: Core) -> None:
    file_id = core.stores("s01", "s02", "s03")
    assert says(core, "s01", file_id, "deleted").work == ()
    assert core.copies(file_id) == {"s01": "gone", "s02": "deleting", "s03": "deleting"}
    with pytest.raises(ProblemError) as refused:
        served_by(core, file_id)
    assert refused.value.slug == "file-deleted"
    for node_id in ("s02", "s03"):
        (lease,) = core.reports(node_id).work
        assert (lease.kind, lease.file_id, lease.tombstone) == ("delete", file_id, True)
        # The node tells its own deletion as well, for it has become one.
        core.reports(
            node_id,
            work=[done(lease.lease_id)],
            gone=(GoneFile(file_id=file_id, why="deleted", order=lease.order),),
        )
    assert core.file(file_id).state == "deleted"
    assert set(core.copies(file_id).values()) == {"gone"}
    assert core.reports("s02").work == ()
    core.counts_are_right()


def test_a_file_deleted_before_its_receipt_came_is_deleted_where_it_was_copied_to(
    core: Core,
) -> None:
    session = core.opens()
    says(core, session.node_id, session.file_id, "deleted")
    (copied_to,) = session.replicas
    core.takes(core.nodes.receipt_of(session, core.clock.now, copied_to))
    (lease,) = core.reports(copied_to).work
    assert (lease.kind, lease.file_id, lease.tombstone) == ("delete", session.file_id, True)
    core.reports(copied_to, work=[done(lease.lease_id)])
    assert core.file(session.file_id).state == "deleted"
    assert set(core.copies(session.file_id).values()) == {"gone"}
    core.counts_are_right()


@pytest.mark.parametrize("first", ["receipt", "deletion"])
def test_a_deletion_and_the_first_receipt_at_one_time_end_as_a_deleted_file(
    core: Core, first: str
) -> None:
    """Whichever is first holds back its commit until the other one has begun."""
    session = core.opens()
    snapshot, now = core.snapshots.current(), core.clock.now
    proof = receipts.verify(snapshot, core.nodes.receipt_of(session, now), now)
    is_done, may_commit = threading.Event(), threading.Event()

    def receipt(transaction: Transaction) -> None:
        receipts.register(transaction, core.settings, proof, now)

    def deletion(transaction: Transaction) -> None:
        service.remove(transaction, snapshot, session.file_id, APP.reach, now)

    works = {"receipt": receipt, "deletion": deletion}
    one = works.pop(first)
    (other,) = works.values()

    def slowly(transaction: Transaction) -> None:
        one(transaction)
        is_done.set()
        assert may_commit.wait(60)

    with ThreadPoolExecutor(2) as threads:
        slow = threads.submit(core.database.write, slowly)
        assert is_done.wait(60)
        quick = threads.submit(core.database.write, other)
        with pytest.raises(TimeoutError):
            quick.result(0.2)
        may_commit.set()
        slow.result(60)
        quick.result(60)
    assert core.file(session.file_id).state == "deleting"
    (lease,) = core.reports(session.node_id).work
    assert (lease.kind, lease.file_id) == ("delete", session.file_id)
    core.counts_are_right()


def test_a_node_calls_off_no_upload_but_its_own(core: Core) -> None:
    session = core.opens()
    (other,) = core.nodes.keys.keys() - {session.node_id, *session.replicas}
    says(core, other, session.file_id, "deleted")
    says(core, session.node_id, session.file_id, "damaged")
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert core.file(session.file_id).state == "committed"


def test_a_damaged_copy_counts_no_more_and_urls_go_elsewhere(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    assert core.file(file_id).present == 2
    kept = served_by(core, file_id)
    other = {"s01": "s02", "s02": "s01"}[kept]
    says(core, kept, file_id, "damaged")
    assert core.copies(file_id) == {kept: "lost", other: "present"}
    assert (core.file(file_id).present, served_by(core, file_id)) == (1, other)
    core.counts_are_right()


def test_nothing_more_is_copied_from_a_damaged_copy(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    orders_repair(core, file_id, "s01", "s03")
    assert says(core, "s01", file_id, "damaged").work == ()
    assert core.copies(file_id) == {"s01": "lost", "s02": "present", "s03": "gone"}
    orders_repair(core, file_id, "s02", "s03")
    core.counts_are_right()


def test_a_damaged_copy_is_repaired_by_a_round(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    cluster = Simulation(tmp_path, database, database_url)
    file_id = cluster.has("s01", "s02")
    cluster.disks["s01"].files.remove(file_id)
    says(cluster, "s01", file_id, "damaged")
    cluster.goes_on_until(lambda: cluster.file(file_id).present == 2)
    assert len(cluster.holders(file_id)) == 2
    cluster.counts_are_right()


@pytest.mark.parametrize("why", ["deleted", "damaged"])
def test_a_node_speaks_for_no_file_that_it_never_had(core: Core, why: WhyGone) -> None:
    file_id = core.stores("s01", "s02")
    says(core, "s03", file_id, why)
    says(core, "s03", secrets.token_hex(16), why)
    assert core.copies(file_id) == {"s01": "present", "s02": "present"}
    assert (core.file(file_id).state, core.file(file_id).present) == ("committed", 2)
    assert core.reports("s01").work == ()
    core.counts_are_right()


def test_a_replay_doesnt_undo_the_repair(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    core.clock.pass_by(1)
    beat = core.nodes.heartbeat(
        "s01", core.clock.now, gone=(GoneFile(file_id=file_id, why="damaged"),)
    )
    token, body = core.nodes.signed(beat)
    core.heartbeats.receive("s01", token, body, core.clock.now)
    copies_back(core, file_id, "s02", "s01")
    assert core.copies(file_id)["s01"] == "present"
    with pytest.raises(ProblemError) as refused:
        core.heartbeats.receive("s01", token, body, core.clock.now)
    assert refused.value.slug == "heartbeat-replayed"
    assert core.copies(file_id)["s01"] == "present"
    core.counts_are_right()


def test_what_is_told_again_doesnt_call_the_repair_off(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    says(core, "s01", file_id, "damaged")
    lease_id = orders_repair(core, file_id, "s02", "s01")
    says(core, "s01", file_id, "damaged")
    assert core.copies(file_id)["s01"] == "copying"
    (lease,) = core.reports("s02").work
    assert lease.lease_id == lease_id
    core.counts_are_right()


def test_a_damaged_copy_doesnt_come_back_with_its_node(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    now = core.clock.now
    core.on_file(file_id, lambda s, file: copies.lost(s, file, "s01", now, lost_as="away"))
    says(core, "s01", file_id, "damaged")
    assert not core.on_file(file_id, lambda s, file: copies.back(s, file, "s01", now, now))
    assert core.copies(file_id)["s01"] == "lost"


def test_a_copy_that_was_to_go_and_was_deleted_for_good_takes_the_others_with_it(
    core: Core,
) -> None:
    file_id = core.stores("s01", "s02")
    lease_id = core.on_file(
        file_id,
        lambda session, file: leases.order_deletion(
            session, file, "s01", "drain", core.clock.now, tombstone=False
        ),
    )
    assert lease_id is not None
    core.reports("s01")
    # The app was there first: the node hasn't got what it is to remove.
    core.reports(
        "s01",
        work=[done(lease_id, "missing")],
        gone=(ordered(core, "s01", GoneFile(file_id=file_id, why="deleted")),),
    )
    assert core.copies(file_id) == {"s01": "gone", "s02": "deleting"}
    (lease,) = core.reports("s02").work
    assert (lease.kind, lease.tombstone) == ("delete", True)
    core.counts_are_right()
