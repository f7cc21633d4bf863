"""The outbox of copies: what is ordered is not forgotten, and what is over is not done again."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.outbox.retry import Following
from agent.replication.attempt import LEASE_ATTEMPTS
from agent.replication.queue import Lag, Push, PushQueue
from portside.wire.files import StoredFile


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "index.sqlite")


@pytest.fixture
def pushes(database: Database) -> PushQueue:
    return PushQueue(database)


def _file() -> StoredFile:
    file_id = secrets.token_hex(16)
    return StoredFile(
        file_id=file_id,
        node_id="s01",
        namespace="isos",
        owner="user-7",
        name="a.bin",
        path=PurePosixPath("isos", f"{file_id}.bin"),
        url="https://s01/uploads/a.bin",
        size=1,
        sha256="0" * 64,
        content_type="application/octet-stream",
        committed_at=datetime.now(UTC),
        receipt="receipt",
    )


def _begun(database: Database, *replicas: str) -> StoredFile:
    file = _file()
    FileIndex(database).begin(Intent(secrets.token_hex(16), "x.part", file, replicas=replicas))
    return file


def _committed(database: Database, *replicas: str) -> StoredFile:
    file = _begun(database, *replicas)
    FileIndex(database).commit(file.file_id)
    return file


def _due(pushes: PushQueue) -> Push | None:
    found = pushes.due(int(time.time()), [], [])
    return None if found is None else found[0]


def _set_state(database: Database, file: StoredFile, state: str) -> None:
    with database.transaction() as connection:
        connection.execute("UPDATE files SET state = ? WHERE file_id = ?", (state, file.file_id))


def test_a_push_is_noted_with_the_intent_and_begins_with_the_commit(
    database: Database, pushes: PushQueue
) -> None:
    file = _begun(database, "s02")
    assert _due(pushes) is None
    assert FileIndex(database).pending()[0].replicas == ("s02",)
    FileIndex(database).commit(file.file_id)
    push = _due(pushes)
    assert push is not None
    assert (push.file_id, push.target, push.attempts) == (file.file_id, "s02", 0)


def test_a_commit_that_is_undone_takes_its_pushes_along(
    database: Database, pushes: PushQueue
) -> None:
    file = _begun(database, "s02")
    FileIndex(database).roll_back(file.file_id)
    assert pushes.all() == []


def test_what_runs_and_whose_target_is_busy_waits(database: Database, pushes: PushQueue) -> None:
    _committed(database, "s02", "s03")
    now = int(time.time())
    first, second = pushes.all()
    assert pushes.due(now, [first.number, second.number], []) is None
    found = pushes.due(now, [], ["s02"])
    assert found is not None
    assert found[0].target == "s03"
    assert pushes.due(now, [], ["s02", "s03"]) is None


def test_a_receipt_ends_the_push_and_every_lease_for_it(
    database: Database, pushes: PushQueue
) -> None:
    file = _committed(database, "s02")
    pushes.order(file.file_id, "s02", "one")
    pushes.order(file.file_id, "s02", "two")
    push = _due(pushes)
    assert push is not None
    pushes.succeeded(push, "the receipt")
    assert pushes.all() == []
    done = pushes.ended(["one", "two", "unknown"])
    assert {(each.lease_id, each.outcome, each.receipt) for each in done} == {
        ("one", "done", "the receipt"),
        ("two", "done", "the receipt"),
    }
    pushes.forget(["one"])
    assert [each.lease_id for each in pushes.ended(["one", "two"])] == ["two"]


def test_a_receipt_for_a_file_that_is_gone_by_now_counts_for_nothing(
    database: Database, pushes: PushQueue
) -> None:
    file = _committed(database, "s02")
    push = _due(pushes)
    assert push is not None
    _set_state(database, file, "DELETED")
    pushes.succeeded(push, "late")
    assert database.rows("SELECT * FROM copies") == []


def test_a_lease_waits_for_few_failures_and_the_nodes_own_push_goes_on(
    database: Database, pushes: PushQueue
) -> None:
    file = _committed(database, "s02")
    pushes.order(file.file_id, "s02", "own-too")
    pushes.order(file.file_id, "s03", "lease-only")
    for push in pushes.all():
        pushes.put_off(push, Following("WAITING", LEASE_ATTEMPTS - 1, 0, "why"))
    assert pushes.ended(["own-too", "lease-only"]) == []
    for push in pushes.all():
        pushes.put_off(push, Following("WAITING", LEASE_ATTEMPTS, 0, "why"))
    ended = pushes.ended(["own-too", "lease-only"])
    assert [(each.outcome, each.detail) for each in ended] == [("failed", "why")] * 2
    assert [push.target for push in pushes.all()] == ["s02"]


@pytest.mark.parametrize("state", ["DELETING", "DELETED", "QUARANTINED"])
def test_a_lease_for_what_is_not_in_service_is_missing_at_once(
    database: Database, pushes: PushQueue, state: str
) -> None:
    file = _committed(database)
    _set_state(database, file, state)
    pushes.order(file.file_id, "s02", "lease")
    assert [each.outcome for each in pushes.ended(["lease"])] == ["missing"]
    assert pushes.all() == []


def test_what_is_deleted_is_copied_no_more_and_what_is_damaged_waits(
    database: Database, pushes: PushQueue
) -> None:
    deleted, damaged = _committed(database, "s02"), _committed(database, "s02")
    pushes.order(damaged.file_id, "s02", "lease")
    _set_state(database, deleted, "DELETED")
    _set_state(database, damaged, "QUARANTINED")
    assert _due(pushes) is None
    dropped = pushes.settle_gone()
    assert [(each.target, each.stored.file_id) for each in dropped] == [("s02", deleted.file_id)]
    assert [push.file_id for push in pushes.all()] == [damaged.file_id]
    assert [each.outcome for each in pushes.ended(["lease"])] == ["missing"]
    _set_state(database, damaged, "COMMITTED")
    assert _due(pushes) is not None


def test_what_was_given_up_is_listed_first_and_tried_again_when_told(
    database: Database, pushes: PushQueue
) -> None:
    _committed(database, "s02", "s03")
    last = pushes.all()[-1]
    pushes.put_off(last, Following("DEAD", 40, 0, "why"))
    assert (pushes.all()[0].number, pushes.counts()) == (last.number, (1, 1))
    pushes.retry([last.number])
    assert pushes.counts() == (2, 0)
    pushes.remove([push.number for push in pushes.all()])
    assert (pushes.all(), pushes.lag()) == ([], Lag())


def test_a_push_that_an_operator_drops_ends_its_lease(
    database: Database, pushes: PushQueue
) -> None:
    file = _committed(database)
    pushes.order(file.file_id, "s02", "lease")
    pushes.remove([push.number for push in pushes.all()])
    assert [each.outcome for each in pushes.ended(["lease"])] == ["failed"]


def test_the_lag_is_the_oldest_pushs(database: Database, pushes: PushQueue) -> None:
    _committed(database, "s02")
    _committed(database, "s02")
    with database.transaction() as connection:
        connection.execute("UPDATE pushes SET ordered_at = ordered_at - 100 WHERE push_id = 1")
    lag = pushes.lag()
    assert lag.waiting == 2
    assert 100 <= lag.oldest < 160


def test_a_rebuilt_index_orders_what_it_has_no_word_of(
    database: Database, pushes: PushQueue
) -> None:
    known, unknown = _committed(database, "s02"), _committed(database)
    push = _due(pushes)
    assert push is not None
    pushes.succeeded(push, "receipt")
    again = [(known.file_id, ("s02", "s03"), "proof"), (unknown.file_id, ("s02",), None)]
    for _ in range(2):
        pushes.order_again(again)
    assert [(each.file_id, each.target, each.proof) for each in pushes.all()] == [
        (known.file_id, "s03", "proof"),
        (unknown.file_id, "s02", None),
    ]
