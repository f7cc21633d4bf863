"""What was promised of the disk is there, whatever begins, sends, ends, crashes and starts."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.index.database import Database
from agent.index.uploads import Details, Upload, UploadIndex
from agent.problems import ProblemError
from agent.storage.staging import Growing
from agent.uploads.admission import Admission, Demand, Reservation
from agent.uploads.disk_space import promise_for
from portside.cluster import defaults
from portside.quantities import GIB, MIB
from portside.sizing import Machine, size
from portside.wire.claims import UploadClaims

SIZING = replace(size(Machine(ram=8 * GIB, cores=2, disk=10 * GIB)), upload_slots=50)
DISK = 3 * GIB + SIZING.disk_kept_free
ROOM = DISK - SIZING.disk_kept_free
STEP = 64 * MIB

SIZES = st.sampled_from([MIB, 200 * MIB, GIB, 2 * GIB, 3 * GIB])


@dataclass
class Sent:
    """An upload as the machine knows it: blocks that it has on the disk, bytes durable in them."""

    most: int
    promised: int
    taken: int = 0
    offset: int = 0
    unknown: int = 0
    """Blocks ahead of its bytes that a process which has just started doesn't know of."""
    reservation: Reservation | None = field(default=None, repr=False)


class Ledger(RuleBasedStateMachine):
    """One node with a disk of its own that nothing but uploads fills."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        home = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.database = Database(home / "index.sqlite")
        self.stack.callback(self.database.close)
        self.index = UploadIndex(self.database)
        self.stored = 0
        self.wholes: dict[str, Sent] = {}
        self.resumable: dict[str, Sent] = {}
        self.number = 0
        self.stack.enter_context(mock.patch.object(os, "statvfs", lambda path: self.statvfs()))
        self.ledger = self.fresh()

    def fresh(self) -> Admission:
        """The ledger of a process that has just started."""
        return Admission(Path("/"), SIZING, self.index, lambda: 100 * GIB)

    def statvfs(self) -> SimpleNamespace:
        """The disk; its filesystem makes inodes as it needs them."""
        free = DISK - self.on_disk()
        return SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=DISK, f_files=0, f_favail=0)

    def on_disk(self) -> int:
        everyone = [*self.wholes.values(), *self.resumable.values()]
        return self.stored + sum(each.taken for each in everyone)

    def key(self) -> str:
        self.number += 1
        return f"{self.number:032x}"

    def teardown(self) -> None:
        for key in list(self.wholes):
            self.end_whole(key)
        for key in list(self.resumable):
            self.end_resumable(key, stored=False)
        assert self.ledger.disk().reserved == 0
        self.stack.close()

    @rule(length=st.none() | SIZES, limit=SIZES)
    def send_whole(self, length: int | None, limit: int) -> None:
        key, most = self.key(), limit if length is None else length
        promised = promise_for(length, limit)
        try:
            reservation = self.ledger.admit(Demand(key, None, promised))
        except ProblemError as problem:
            assert problem.slug == "no-space"
            return
        self.wholes[key] = Sent(most, promised, reservation=reservation)

    @rule(length=st.none() | SIZES, limit=SIZES)
    def create(self, length: int | None, limit: int) -> None:
        key, most = self.key(), limit if length is None else length
        promised = promise_for(length, limit)
        try:
            with self.ledger.promising(f"begin {key}", promised):
                self.index.add(_row(key, most if length else None, promised, limit))
        except ProblemError as problem:
            assert problem.slug == "no-space"
            return
        self.resumable[key] = Sent(most, promised)

    @rule(length=SIZES, token=st.sampled_from(["parted-1", "parted-2"]))
    def create_part(self, length: int, token: str) -> None:
        """Parts lie behind each other in their token's file, and end one by one."""
        key = self.key()
        start = sum(each.length or 0 for each in self.index.of_token(token))
        part = replace(_row(key, length, length, length, token), kind="part", start=start)
        try:
            with self.ledger.promising(f"begin {key}", length):
                self.index.add(part)
        except ProblemError as problem:
            assert problem.slug == "no-space"
            return
        self.resumable[key] = Sent(length, length)

    @precondition(lambda self: self.wholes)
    @rule(data=st.data(), count=SIZES)
    def bytes_of_a_whole(self, data: st.DataObject, count: int) -> None:
        upload = self.wholes[data.draw(st.sampled_from(sorted(self.wholes)))]
        assert upload.reservation is not None
        self.grow(upload, count, upload.reservation.growing)

    @precondition(lambda self: self.resumable)
    @rule(data=st.data(), count=SIZES)
    def bytes_of_a_resumable(self, data: st.DataObject, count: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.resumable)))
        upload = self.resumable[key]
        self.grow(upload, count, lambda step: self.ledger.growing(key, step))
        self.ledger.has_taken(key, upload.taken)
        upload.unknown = 0
        row = self.index.find(key)
        assert row is not None
        self.index.record(row, upload.offset, None)

    def grow(self, upload: Sent, count: int, growing: Growing) -> None:
        """As `StagingFile` does: blocks in steps ahead of the bytes that come."""
        end = min(upload.offset + count, upload.most)
        while end > upload.taken:
            step = min(max(STEP, end - upload.taken), upload.most - upload.taken)
            within = upload.taken + step <= upload.promised
            try:
                with growing(step):
                    upload.taken += step
            except ProblemError:
                # What was promised is never refused.
                assert not within
                return
        upload.offset = max(upload.offset, end)

    @precondition(lambda self: self.wholes)
    @rule(data=st.data(), stored=st.booleans())
    def a_whole_ends(self, data: st.DataObject, stored: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.wholes)))
        self.stored += self.wholes[key].offset if stored else 0
        self.end_whole(key)

    def end_whole(self, key: str) -> None:
        reservation = self.wholes.pop(key).reservation
        assert reservation is not None
        reservation.__exit__(None, None, None)

    @precondition(lambda self: self.resumable)
    @rule(data=st.data(), stored=st.booleans())
    def a_resumable_ends(self, data: st.DataObject, stored: bool) -> None:
        self.end_resumable(data.draw(st.sampled_from(sorted(self.resumable))), stored)

    def end_resumable(self, key: str, stored: bool) -> None:
        upload = self.resumable.pop(key)
        self.stored += upload.offset if stored else 0
        self.index.end(key)

    @precondition(lambda self: self.stored)
    @rule()
    def files_are_deleted(self) -> None:
        self.stored = 0

    @rule()
    def crash_and_start(self) -> None:
        """What wholes had is swept away; of resumables the rows are there, and all their blocks."""
        self.wholes.clear()
        for upload in self.resumable.values():
            upload.unknown = upload.taken - upload.offset
        self.ledger = self.fresh()

    @invariant()
    def promised_and_taken_fit_beside_what_is_kept_free(self) -> None:
        reserved = self.ledger.disk().reserved
        assert reserved + self.on_disk() <= ROOM + self.counted_twice()

    @invariant()
    def nobody_holds_more_than_a_step_without_bytes(self) -> None:
        for upload in [*self.wholes.values(), *self.resumable.values()]:
            assert upload.taken <= upload.offset + STEP + upload.most * (upload.offset == 0)

    @invariant()
    def what_is_promised_is_what_can_still_come(self) -> None:
        exact = sum(
            max(0, each.promised - each.taken)
            for each in [*self.wholes.values(), *self.resumable.values()]
        )
        assert exact <= self.ledger.disk().reserved <= exact + self.counted_twice()

    def counted_twice(self) -> int:
        """After a start a step that was taken ahead is promised once more: the safe side."""
        return sum(each.unknown for each in self.resumable.values())


def _row(
    upload_id: str, length: int | None, promised: int, limit: int, token: str | None = None
) -> Upload:
    now = int(time.time())
    claims = UploadClaims(
        iss="issuer",
        aud="s01",
        sub="alice",
        jti=token or f"token-{upload_id}",
        iat=now,
        nbf=now,
        exp=now + 600,
        session_deadline=now + 7200,
        file_id=upload_id,
        namespace="files",
        max_size=limit,
    )
    details = Details(claims=claims, dialect="tus", name="a.bin")
    return Upload(
        upload_id=upload_id,
        jti=claims.jti,
        kind="whole",
        state="OPEN",
        staging=f"{upload_id}.part",
        path=None,
        start=0,
        length=length,
        offset=0,
        hash_state=None,
        deadline=now + 7200,
        details=details,
        promised=promised,
    )


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_an_upload_of_unknown_length_is_promised_little() -> None:
    assert promise_for(None, 64 * GIB) == defaults.UNTOLD_SIZE
    assert promise_for(None, MIB) == MIB
    assert promise_for(5 * GIB, 64 * GIB) == 5 * GIB
