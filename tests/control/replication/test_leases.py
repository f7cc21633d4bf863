"""Receipts, copies and leases: a copy counts when its own node has signed for it, and once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from control.catalogue import copies
from control.db.models import File, Node, Pool, Work
from control.problems import ProblemError
from control.replication import leases
from control.worker import expiry
from portside.tokens import (
    RECEIPT_TYPE,
    SigningKey,
    TokenRefused,
    unverified_claims,
    verify_copy_order,
)
from portside.wire.heartbeat import Lease
from portside.wire.keys import Keyset
from tests.support.control.cluster import done
from tests.support.control.core import Core
from tests.support.control.orders import orders_copy, orders_deletion


def work(core: Core, lease_id: str) -> Work:
    found = core.database.read(lambda session: session.get(Work, lease_id))
    assert found is not None
    return found


# -- receipts --------------------------------------------------------------------------------------


def test_the_first_receipt_makes_the_file_known_and_the_tenth_changes_nothing(core: Core) -> None:
    session = core.opens(name="b.iso", content_type="application/x-iso", owner="user-9")
    receipt = core.nodes.receipt_of(session, core.clock.now)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(core.takes, [receipt] * 10)) == {session.file_id}
    file = core.file(session.file_id)
    assert (file.owner, file.name, file.app_id, file.present) == ("user-9", "b.iso", "shop", 1)
    assert core.pool(session.node_id) == (0, 0, 1000)
    assert core.copies(session.file_id) == {
        session.node_id: "present",
        session.replicas[0]: "copying",
    }
    core.counts_are_right()


def test_every_node_speaks_for_its_own_copy_only(core: Core) -> None:
    session = core.opens()
    core.takes(core.nodes.receipt_of(session, core.clock.now, copies=("s01", "s02", "s03")))
    assert core.file(session.file_id).present == 1
    core.takes(core.nodes.receipt_of(session, core.clock.now, session.replicas[0]))
    assert core.file(session.file_id).present == 2
    core.counts_are_right()


def test_a_receipt_of_another_issuers_session_registers_its_file_too(core: Core) -> None:
    file_id = core.takes(core.nodes.receipt("s02", core.clock.now))
    file = core.file(file_id)
    assert (file.owner, file.namespace, file.app_id) == ("unknown", "files", None)
    assert core.copies(file_id) == {"s02": "present"}
    assert core.pool("s02") == (0, 0, 1000)


def _for_path(core: Core, path: str) -> str:
    """A receipt that its node has signed, for a path that no node of ours would tell."""
    claims = unverified_claims(core.nodes.receipt("s02", core.clock.now))
    return core.nodes.keys["s02"].sign(RECEIPT_TYPE, {**claims, "path": path})


def test_receipts_that_prove_nothing_are_refused(core: Core) -> None:
    session = core.opens()
    receipt = core.nodes.receipt_of(session, core.clock.now)
    head, payload, signature = receipt.split(".")
    other = core.nodes.receipt("s01", core.clock.now).split(".")[1]
    core.nodes.keys["s01"] = SigningKey.generate("s01")
    for bad, slug in [
        (f"{head}.{other}.{signature}", "token-signature"),
        (core.nodes.receipt("s01", core.clock.now), "token-unknown-key"),
        (core.nodes.receipt("s02", core.clock.now, iss="s03"), "token-claims"),
        (_for_path(core, "/etc/passwd"), "token-claims"),
        (_for_path(core, "a/../b"), "token-claims"),
        (core.nodes.receipt("s02", core.clock.now, aud="control"), "token-claims"),
        (session.token, "token-unknown-key"),
    ]:
        with pytest.raises(ProblemError) as refused:
            core.takes(bad)
        assert refused.value.slug == slug
    assert payload


def test_another_content_under_a_known_id_is_a_conflict(core: Core) -> None:
    session = core.opens()
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    for changed in ({"sha256": "f" * 64}, {"size": 999}, {"path": "files/other.iso"}):
        with pytest.raises(ProblemError) as refused:
            core.takes(
                core.nodes.receipt_of(session, core.clock.now, session.replicas[0], **changed)
            )
        assert refused.value.slug == "receipt-conflict"
    assert core.file(session.file_id).present == 1


def test_an_old_receipt_doesnt_bring_a_deleted_copy_back(core: Core) -> None:
    session = core.opens()
    old = core.nodes.receipt_of(session, core.clock.now)
    core.takes(old)
    core.clock.pass_by(3600)
    core.on_file(
        session.file_id,
        lambda s, file: copies.lost(s, file, session.node_id, core.clock.now),
    )
    core.takes(old)
    assert core.copies(session.file_id)[session.node_id] == "lost"
    core.clock.pass_by(3600)
    # No clock says whether this one is newer than the loss: the node's inventory does.
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert core.copies(session.file_id)[session.node_id] == "lost"
    core.counts_are_right()


# -- leases ----------------------------------------------------------------------------------------


def test_a_copy_is_ordered_leased_and_settled_by_the_targets_receipt(core: Core) -> None:
    file_id = core.stores("s01")
    lease_id = orders_copy(core, file_id, "s01", "s03")
    assert lease_id is not None
    [lease] = core.reports("s01").work
    assert (lease.lease_id, lease.kind, lease.target) == (lease_id, "replicate", "s03")
    assert core.reports("s03").work == ()
    receipt = core.nodes.receipt("s03", core.clock.now, file_id=file_id, path=lease.path)
    core.reports("s01", work=[done(lease_id, receipt=receipt)])
    assert core.copies(file_id)["s03"] == "present"
    assert work(core, lease_id).state == "done"
    assert core.reports("s01").work == ()
    core.counts_are_right()


def test_a_lease_brings_the_order_that_its_target_takes_the_copy_by(core: Core) -> None:
    file_id = core.stores("s01")
    orders_copy(core, file_id, "s01", "s03")
    [lease] = core.reports("s01").work
    assert lease.order is not None
    issuers = Keyset(keys=(core.key.public(),))
    said = verify_copy_order(lease.order, issuers, "s03", core.clock.now)
    assert (said.sub, said.file_id, said.path, said.size, said.sha256) == (
        *("s01", file_id),
        *(lease.path, lease.size, lease.sha256),
    )
    # It is good for this target alone.
    with pytest.raises(TokenRefused):
        verify_copy_order(lease.order, issuers, "s02", core.clock.now)


def test_a_lease_that_was_lost_on_its_way_comes_again_as_the_same(core: Core) -> None:
    file_id = core.stores("s01")
    orders_copy(core, file_id, "s01", "s03")
    first, second = core.reports("s01").work, core.reports("s01").work
    assert first == second
    assert work(core, first[0].lease_id).attempts == 1


def test_a_lease_that_isnt_settled_in_time_is_given_anew(core: Core) -> None:
    file_id = core.stores("s01")
    orders_copy(core, file_id, "s01", "s03")
    [first] = core.reports("s01").work
    core.clock.pass_by((first.until - core.clock.now).total_seconds() + 1)
    assert core.database.write(lambda s: leases.give_back_expired(s, core.clock.now)) == 1
    assert work(core, first.lease_id).state == "waiting"
    [again] = core.reports("s01").work
    assert again.lease_id == first.lease_id
    assert again.until > first.until
    assert work(core, first.lease_id).attempts == 2


@pytest.mark.parametrize("receipt", [None, "of another node", "of another file", "forged"])
def test_without_the_targets_receipt_a_copy_doesnt_count(core: Core, receipt: str | None) -> None:
    file_id = core.stores("s01")
    lease_id = orders_copy(core, file_id, "s01", "s03")
    assert lease_id is not None
    core.reports("s01")
    path, moment = core.file(file_id).path, core.clock.now
    said = {
        None: None,
        "of another node": core.nodes.receipt("s01", moment, file_id=file_id, path=path),
        "of another file": core.nodes.receipt("s03", moment),
        "forged": core.nodes.receipt("s03", moment, file_id=file_id)[:-8] + "AAAAAAAA",
    }[receipt]
    core.reports("s01", work=[done(lease_id, receipt=said)])
    assert core.copies(file_id)["s03"] == "copying"
    settled = work(core, lease_id)
    assert settled.state == "waiting"
    assert settled.detail
    assert settled.not_before > core.clock.now
    core.counts_are_right()


def test_a_copy_that_keeps_failing_is_given_up_and_its_target_left_out(core: Core) -> None:
    file_id = core.stores("s01")
    lease_id = orders_copy(core, file_id, "s01", "s03")
    assert lease_id is not None
    # Another source says so, too.
    other = orders_copy(core, core.stores("s02"), "s02", "s03")
    core.reports("s02")
    core.reports("s02", work=[done(str(other), "failed", detail="connection refused")])
    for _ in range(leases.ATTEMPTS):
        core.clock.pass_by(leases.LONGEST_PAUSE * 2)
        assert [each.lease_id for each in core.reports("s01").work] == [lease_id]
        core.reports("s01", work=[done(lease_id, "failed", detail="connection refused")])
    assert (work(core, lease_id).state, work(core, lease_id).detail) == (
        "failed",
        "connection refused",
    )
    assert core.copies(file_id)["s03"] == "gone"
    core.all_report()
    assert "failed: 8 times" in core.snapshots.current().nodes["s03"].reasons[0]
    # Now it may be ordered again.
    assert orders_copy(core, file_id, "s01", "s03") not in (None, lease_id)


def test_a_source_without_the_file_has_lost_it(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    lease_id = orders_copy(core, file_id, "s01", "s03")
    assert lease_id is not None
    core.reports("s01")
    core.reports("s01", work=[done(lease_id, "missing")])
    copies = core.copies(file_id)
    assert (copies["s01"], copies["s02"], copies["s03"]) == ("lost", "present", "gone")
    core.counts_are_right()


def test_a_stale_or_foreign_lease_changes_nothing(core: Core) -> None:
    file_id = core.stores("s01")
    lease_id = orders_deletion(core, file_id, "s01")
    assert lease_id is not None
    core.reports("s01")
    core.reports("s02", work=[done(lease_id), done("f" * 32)])
    assert core.copies(file_id)["s01"] == "deleting"
    core.reports("s01", work=[done(lease_id)])
    core.reports("s01", work=[done(lease_id), done(lease_id, "missing")])
    assert core.copies(file_id)["s01"] == "gone"
    core.counts_are_right()


def test_no_second_work_alike_is_ordered_however_many_try(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    sources = ["s01", "s02"] * 4
    with ThreadPoolExecutor(8) as threads:
        ordered = list(threads.map(lambda each: orders_copy(core, file_id, each, "s03"), sources))
    assert len([each for each in ordered if each is not None]) == 1


def test_what_is_there_already_isnt_new(core: Core) -> None:
    pool = {"pool_id": "s01", "node_id": "s01", "priority": 0, "is_upload_target": True}
    counts = {"reserved": 0, "open_sessions": 0, "stored": 0}

    def insert(pool_id: str) -> bool:
        values = {**pool, **counts, "pool_id": pool_id}
        return core.database.write(lambda s: copies.insert_if_new(s, Pool, values))

    assert [insert("s01"), insert("s01b"), insert("s01b")] == [False, True, False]


def test_a_node_gets_no_more_than_it_may_have_and_nothing_twice(core: Core) -> None:
    files = [core.stores("s01") for _ in range(leases.AT_ONCE + 4)]
    for file_id in files:
        assert orders_deletion(core, file_id, "s01") is not None

    def granted(session: Session) -> list[Lease]:
        # As a heartbeat does: what is leased to one node happens one after the other.
        session.get(Node, "s01", with_for_update=True)
        return leases.grant(session, "s01", core.clock.now)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: core.database.write(granted), range(4)))
    assert max(len(answer) for answer in answers) == leases.AT_ONCE
    leased = core.database.read(
        lambda session: list(session.scalars(select(Work).where(Work.state == "leased")))
    )
    assert {each.attempts for each in leased} == {1}


def test_a_deletion_is_tried_for_ever_and_a_missing_copy_is_deleted(core: Core) -> None:
    file_id = core.stores("s01")
    lease_id = orders_deletion(core, file_id, "s01", tombstone=True)
    assert lease_id is not None
    for _ in range(leases.ATTEMPTS + 2):
        core.clock.pass_by(leases.LONGEST_PAUSE * 2)
        [lease] = core.reports("s01").work
        assert lease.tombstone
        core.reports("s01", work=[done(lease_id, "failed", detail="EIO")])
    core.clock.pass_by(leases.LONGEST_PAUSE * 2)
    core.reports("s01")
    core.reports("s01", work=[done(lease_id, "missing")])
    assert core.copies(file_id)["s01"] == "gone"
    core.counts_are_right()


def test_copying_that_is_called_off_expects_nothing(core: Core) -> None:
    file_id = core.stores("s01")
    lease_id = orders_copy(core, file_id, "s01", "s03")
    assert lease_id is not None
    core.reports("s01")
    core.on_file(file_id, lambda s, file: leases.call_off(s, file, core.clock.now))
    assert core.copies(file_id)["s03"] == "gone"
    # It was done all the same: its receipt counts, for the file is there.
    receipt = core.nodes.receipt(
        "s03", core.clock.now, file_id=file_id, path=core.file(file_id).path
    )
    core.reports("s01", work=[done(lease_id, receipt=receipt)])
    assert core.copies(file_id)["s03"] == "present"
    core.counts_are_right()


def test_a_copy_that_never_comes_is_expected_no_more(core: Core) -> None:
    session = core.opens()
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    leased = core.stores("s01")
    orders_copy(core, leased, "s01", "s03")
    late = core.clock.now + timedelta(seconds=expiry.COPY_PATIENCE + 1)
    expiry.give_up_copies(core.database, late)
    assert core.copies(session.file_id)[session.replicas[0]] == "gone"
    assert core.copies(leased)["s03"] == "copying", "a lease for it is under way"
    core.counts_are_right()


def test_short_files_are_found_by_their_index(core: Core) -> None:
    """What repair asks has an index of its own on both databases."""
    short, safe = core.stores("s01"), core.stores("s01", "s02")
    condition = copies.SHORT

    def found(session: Session) -> list[str]:
        return list(session.scalars(select(File.file_id).where(condition).order_by(File.file_id)))

    assert core.database.read(found) == [short]
    assert safe
