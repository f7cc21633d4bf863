"""Deleted files are forgotten in the end, and come back neither before nor after that."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, update

from control.catalogue import copies
from control.cluster.reach import EVERYTHING
from control.db.models import Copy, File, HoldOrder, LifetimeOrder, Node, UploadSession, Work
from control.files import forgotten, service
from control.problems import ProblemError
from control.worker import expiry
from portside.wire.files import HoldNote
from tests.support.control.cluster import done
from tests.support.control.core import Core

DAY = 86400
KEPT = 31 * DAY


def rows(core: Core) -> dict[str, int]:
    """How many rows are left of files."""
    tables = (File, Copy, UploadSession, HoldOrder, LifetimeOrder)
    return core.database.read(
        lambda s: {
            each.__tablename__: s.scalar(select(func.count()).select_from(each)) or 0
            for each in tables
        }
    )


def uploaded(core: Core, **wish: Any) -> tuple[str, str]:
    """A file of a session; its id, and the first node's receipt."""
    session = core.opens(**wish)
    receipt = core.nodes.receipt_of(session, core.clock.now, session.node_id)
    core.takes(receipt)
    for node_id in session.replicas:
        core.takes(core.nodes.receipt_of(session, core.clock.now, node_id))
    return session.file_id, receipt


def goes_away(core: Core, file_id: str) -> str:
    """One of its nodes is silent for so long that its copy counts no more."""
    away, *_ = core.copies(file_id)
    now = core.clock.now
    core.on_file(file_id, lambda s, file: copies.lost(s, file, away, now, lost_as="away"))
    return away


def deleted(core: Core, file_id: str) -> None:
    """Delete a file; every node that is heard carries it out."""
    core.on_file(file_id, lambda s, file: service.delete_everywhere(s, file, core.clock.now))
    for node_id, state in core.copies(file_id).items():
        if state == "deleting":
            work = core.reports(node_id).work
            core.reports(node_id, work=tuple(done(each.lease_id) for each in work))


def forget(core: Core) -> int:
    return expiry.Forgetting(core.database).round(core.clock.now)


def test_a_deleted_file_leaves_nothing_behind_in_the_end_and_its_receipt_counts_no_more(
    core: Core,
) -> None:
    alive, _ = uploaded(core)
    file_id, receipt = uploaded(core)
    snapshot = core.snapshots.current()
    note = HoldNote(by="ops", at=core.clock.now)
    core.database.write(
        lambda s: service.set_held(
            s, snapshot, file_id, EVERYTHING, note, core.clock.now, held=True
        )
    )
    deleted(core, file_id)
    assert core.file(file_id).state == "deleted"
    core.clock.pass_by(KEPT - 1)
    assert forget(core) == 0
    # Until then an old receipt finds the row, and its copy is ordered away.
    core.takes(receipt)
    assert core.copies(file_id) == dict.fromkeys(core.copies(file_id), "gone")
    core.clock.pass_by(2)
    assert (forget(core), forget(core)) == (1, 0)
    with pytest.raises(ProblemError, match="older than 30 days") as refused:
        core.takes(receipt)
    assert refused.value.slug == "receipt-conflict"
    left = rows(core)
    assert (left["files"], left["sessions"]) == (1, 1)
    assert left["copies"] == len(core.copies(alive))
    assert (left["hold_orders"], left["lifetime_orders"]) == (0, 0)
    core.counts_are_right()


def test_a_node_that_may_have_a_copy_finds_its_deletion_however_late_it_is_back(
    core: Core,
) -> None:
    file_id, _ = uploaded(core)
    away = goes_away(core, file_id)
    deleted(core, file_id)
    assert core.file(file_id).state == "deleted"
    core.clock.pass_by(10 * KEPT)
    assert forget(core) == 0
    # No node of the cluster any more: it is not heard.
    core.database.write(
        lambda s: s.execute(update(Node).where(Node.node_id == away).values(in_roster=False))
    )
    assert forget(core) == 1
    core.counts_are_right()


def test_what_somebody_is_still_to_look_at_stays(core: Core) -> None:
    file_id, _ = uploaded(core)
    deleted(core, file_id)
    core.clock.pass_by(KEPT + 1)
    again = update(Work).where(Work.file_id == file_id).values(state="waiting")
    core.database.write(lambda s: s.execute(again))
    assert forget(core) == 0


def test_files_that_have_to_stay_keep_no_others_from_being_forgotten(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgotten, "BATCH", 2)
    monkeypatch.setattr(expiry, "MOST_FORGOTTEN", 1)
    stay = [uploaded(core)[0] for _ in range(3)]
    for file_id in stay:
        goes_away(core, file_id)
        deleted(core, file_id)
    core.clock.pass_by(1)
    go = uploaded(core)[0]
    deleted(core, go)
    core.clock.pass_by(KEPT + 1)
    forgetting = expiry.Forgetting(core.database)
    assert [forgetting.round(core.clock.now) for _ in range(3)] == [0, 1, 0]
    assert rows(core)["files"] == 3
