"""What each owner has is told at once, and is always what adding up all files would tell."""

from __future__ import annotations

import secrets
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.index import schema
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.index.uploads import Details, Kind, Upload, UploadIndex
from agent.index.usage import OPEN, Amounts, AtWork, UsageIndex, count_anew
from portside.wire.files import StoredFile
from tests.support.minting import upload_claims

OWNERS = st.sampled_from(["alice", "bob", "a'; --", "ä"])
SIZES = st.integers(0, 5)
COUNTED = "SELECT owner, state, count(*), sum(size) FROM files WHERE state != 'DELETED' "


def intent(owner: str, size: int, file_id: str | None = None) -> Intent:
    file_id = file_id or secrets.token_hex(16)
    path = PurePosixPath(f"isos/{file_id}.bin")
    stored = StoredFile(
        file_id=file_id,
        node_id="s01",
        namespace="isos",
        owner=owner,
        name=path.name,
        path=path,
        url="https://s01.test/f/x",
        size=size,
        sha256="0" * 64,
        content_type="application/octet-stream",
        committed_at=datetime.now(UTC),
        receipt="x",
    )
    return Intent(f"token-{file_id}", "staged.part", stored)


def upload(
    owner: str = "alice",
    jti: str = "token-0001",
    kind: Kind = "whole",
    length: int | None = 100,
    promised: int = 100,
    **claims: object,
) -> Upload:
    said = upload_claims("lab", "s01", {"namespace": "isos", "jti": jti, "sub": owner, **claims})
    return Upload(
        upload_id=secrets.token_hex(16),
        jti=jti,
        kind=kind,
        state="OPEN",
        staging="file.part",
        path=None,
        start=0,
        length=length,
        offset=0,
        hash_state=None,
        deadline=int(time.time()) + 600,
        details=Details(claims=said, dialect="tus", name="a.bin"),
        promised=promised,
    )


class Files(RuleBasedStateMachine):
    """Everything that befalls rows of files, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.database = Database(home / "index.sqlite")
        self.stack.callback(self.database.close)
        self.index = FileIndex(self.database)
        self.known: list[Intent] = []

    def teardown(self) -> None:
        self.stack.close()

    def sql(self, statement: str, *values: object) -> None:
        with self.database.transaction() as connection:
            connection.execute(statement, values)

    @rule(owner=OWNERS, size=SIZES, committed=st.booleans())
    def comes(self, owner: str, size: int, committed: bool) -> None:
        begun = intent(owner, size)
        self.known.append(begun)
        self.index.begin(begun)
        if committed:
            self.index.commit(begun.stored.file_id)

    @rule(
        owner=OWNERS,
        size=SIZES,
        state=st.sampled_from(["COMMITTED", "QUARANTINED", "ENDED", "DELETING", "DELETED"]),
    )
    def is_found(
        self,
        owner: str,
        size: int,
        state: Literal["COMMITTED", "QUARANTINED", "ENDED", "DELETING", "DELETED"],
    ) -> None:
        found = intent(owner, size)
        self.known.append(found)
        self.index.restore([(found.jti, found.stored)], state)

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0, 99), owner=OWNERS, size=SIZES)
    def is_found_otherwise(self, which: int, owner: str, size: int) -> None:
        file_id = self.one(which).stored.file_id
        found = intent(owner, size, file_id)
        self.index.restore([(found.jti, found.stored)])

    @precondition(lambda self: self.known)
    @rule(
        which=st.integers(0, 99),
        state=st.sampled_from(
            ["PENDING", "COMMITTED", "DELETING", "DELETED", "QUARANTINED", "ENDED"]
        ),
    )
    def becomes(self, which: int, state: str) -> None:
        file_id = self.one(which).stored.file_id
        self.sql("UPDATE files SET state = ? WHERE file_id = ?", state, file_id)

    @precondition(lambda self: self.known)
    @rule(which=st.integers(0, 99), how=st.sampled_from(["undone", "lost", "forgotten"]))
    def goes(self, which: int, how: str) -> None:
        file_id = self.one(which).stored.file_id
        if how == "undone":
            self.index.roll_back(file_id)
        elif how == "lost":
            self.index.forget_lost(file_id)
        else:
            self.sql("DELETE FROM files WHERE file_id = ?", file_id)

    def one(self, which: int) -> Intent:
        return self.known[which % len(self.known)]

    @invariant()
    def usage_is_the_sum(self) -> None:
        wanted = self.database.rows(f"{COUNTED} GROUP BY owner, state ORDER BY owner, state")
        kept = self.database.rows("SELECT * FROM usage ORDER BY owner, state")
        assert kept == wanted


TestUsageIsTheSum = Files.TestCase
TestUsageIsTheSum.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "index.sqlite")


def test_a_database_of_before_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "index.sqlite"
    steps = schema._STEPS
    before = steps[: [step[1] for step in steps].index(schema._USAGE)]
    with monkeypatch.context() as former:
        former.setattr(schema, "_STEPS", before)
        old = Database(path)
    index = FileIndex(old)
    index.restore([(each.jti, each.stored) for each in (intent("alice", 3), intent("alice", 4))])
    gone = intent("alice", 9)
    index.restore([(gone.jti, gone.stored)], "DELETED")
    UploadIndex(old).add(upload("alice"))
    old.close()
    used = UsageIndex(Database(path)).of("alice", [])
    assert used.by_state == {"COMMITTED": Amounts(2, 7), OPEN: Amounts(1, 100)}


def test_what_was_changed_by_hand_is_added_up_anew(database: Database) -> None:
    found = intent("alice", 3)
    FileIndex(database).restore([(found.jti, found.stored)])
    with database.transaction() as connection:
        connection.execute("UPDATE usage SET owner = 'bob', bytes = 99")
    count_anew(database)
    assert database.rows("SELECT * FROM usage") == [("alice", "COMMITTED", 1, 3)]


@pytest.mark.parametrize(
    ("uploads", "comes_to"),
    [
        ([upload()], Amounts(1, 100)),
        ([upload(jti="token-0001"), upload(jti="token-0002")], Amounts(2, 200)),
        ([upload("bob")], Amounts()),
        # Nobody said how long: what was promised, or what there is if that is more.
        ([upload(length=None, promised=64)], Amounts(1, 64)),
        # Parts of one file come to no more than the token allows, nor do those begun twice.
        ([upload(kind="part"), upload(kind="part", promised=0)], Amounts(1, 200)),
        (
            [upload(kind="part", max_size=150), upload(kind="part", max_size=150)],
            Amounts(1, 150),
        ),
        ([upload(kind="part"), upload(kind="final", promised=0)], Amounts(1, 100)),
    ],
)
def test_open_uploads_count_as_what_they_may_come_to(
    database: Database, uploads: list[Upload], comes_to: Amounts
) -> None:
    for each in uploads:
        UploadIndex(database).add(each)
    assert UsageIndex(database).of("alice", []).of(OPEN) == comes_to


def test_bytes_beyond_a_promise_count(database: Database) -> None:
    uploads, begun = UploadIndex(database), upload(length=None, promised=64)
    uploads.add(begun)
    uploads.record(begun, 70, None)
    assert UsageIndex(database).of("alice", []).bytes == 70


def test_a_file_is_never_counted_twice(database: Database) -> None:
    """Not while it is committed, nor when its request still holds what it was let in with."""
    usage, index, uploads = UsageIndex(database), FileIndex(database), UploadIndex(database)
    begun = intent("alice", 100)
    uploads.add(upload("alice", begun.jti))
    at_work = [AtWork(begun.jti, 100)]
    assert usage.of("alice", at_work).by_state == {OPEN: Amounts(1, 100)}
    index.begin(begun)
    assert usage.of("alice", at_work).by_state == {"PENDING": Amounts(1, 100)}
    index.commit(begun.stored.file_id)
    assert usage.of("alice", at_work).by_state == {"COMMITTED": Amounts(1, 100)}


def test_what_is_at_work_counts_beside_rows_and_not_for_itself(database: Database) -> None:
    usage = UsageIndex(database)
    UploadIndex(database).add(upload("alice", "token-0001"))
    at_work = [AtWork("token-0001", 150), AtWork("token-0002", 7)]
    assert usage.of("alice", at_work).of(OPEN) == Amounts(2, 157)
    assert usage.of("alice", at_work, but="token-0001").of(OPEN) == Amounts(1, 7)


def test_the_question_reads_one_owners_rows(database: Database) -> None:
    from agent.index import usage

    plan = database.rows(
        f"EXPLAIN QUERY PLAN {usage._USED}",
        {"owner": "alice", "but": None, "open": OPEN, "at_work": "[]"},
    )
    told = "\n".join(text for *_, text in plan)
    assert "uploads_by_owner" in told
    assert "SCAN uploads" not in told
    assert "SCAN files" not in told
    assert "SEARCH usage" in told
