"""Processes of one node give away together what the node has, and what a killed one had is free."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.problems import ProblemError
from agent.uploads.admission import Admission, Demand, Reservation
from agent.uploads.quotas import Claim
from agent.uploads.shared.entries import Entry, from_bytes, place_of, to_bytes
from agent.uploads.shared.ledger import SharedLedger, beside
from agent.uploads.shares import Sender, SlotShares
from portside.quantities import GIB, MIB
from portside.sizing import Machine, size
from tests.support.agent.no_uploads import NothingBegun

SIZING = replace(size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)), upload_slots=4)
SHARES = SlotShares(per_token=2, per_owner=0.75, per_address=1)


class Process:
    """What an agent's process has of the ledger; `kill` is its end, however it came."""

    def __init__(self, folder: Path) -> None:
        self.shared = SharedLedger(folder / "ledger")
        self.admission = Admission(
            *(folder, SIZING, NothingBegun()),
            memory_available=lambda: 100 * GIB,
            shares=SHARES,
            shared=self.shared,
        )

    def kill(self) -> None:
        self.shared.close()


def _slug(process: Process, demand: Demand) -> str:
    with pytest.raises(ProblemError) as refused:
        process.admission.check(demand)
    return refused.value.slug


def _demand(key: str, owner: str = "o", **more: object) -> Demand:
    path = more.pop("path", None)
    place = None if path is None else PurePosixPath(str(path))
    return replace(Demand(key, place, 0, sender=Sender(key, owner)), **more)  # type: ignore[arg-type]


def test_slots_of_an_old_process_count_in_the_new_one(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    with ExitStack() as running:
        for number in range(3):
            running.enter_context(old.admission.admit(_demand(f"{number}", f"owner-{number}")))
        running.enter_context(new.admission.admit(_demand("mine", "me")))
        assert new.admission.slots().used == old.admission.slots().used == SIZING.upload_slots
        assert new.admission.memory().reserved == 4 * SIZING.upload_memory
        assert _slug(new, _demand("other", "you")) == "no-slot"
    assert (old.admission.slots().used, new.admission.slots().used) == (0, 0)


def test_an_owner_has_one_share_in_both(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    with (
        old.admission.admit(_demand("1")),
        old.admission.admit(_demand("2")),
        new.admission.admit(_demand("3")),
    ):
        assert _slug(new, _demand("4")) == "too-many-uploads"
        new.admission.check(_demand("5", "another"))


def test_a_token_and_a_name_are_in_use_once(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    with old.admission.admit(_demand("token", path="isos/a.bin")):
        assert _slug(new, _demand("token")) == "upload-in-progress"
        assert _slug(new, _demand("other", path="isos/a.bin")) == "name-taken"
        assert new.admission.tokens_elsewhere() == ("token",)
    new.admission.check(_demand("token", path="isos/a.bin"))


def test_a_resumable_upload_that_another_process_is_at_is_tried_again(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    with old.admission.admit(_demand("upload", resumable=True)):
        assert _slug(new, _demand("upload", resumable=True)) == "upload-locked"


def test_disk_is_promised_once_by_both(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    half = Demand("a", None, free * 6 // 10)
    with old.admission.admit(half):
        assert _slug(new, replace(half, key="b")) == "no-space"
        with old.admission.growing("a", half.disk):
            pass
        # Its blocks are taken now, as far as the ledger knows: the disk itself tells of them.
        assert new.admission.disk().reserved == 0


def test_what_a_killed_process_had_is_free_at_once(tmp_path: Path) -> None:
    new = Process(tmp_path)
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            old = Process(tmp_path)
            for number in range(4):
                old.admission.admit(_demand(f"{number}", f"owner-{number}"))
            os.write(told, b"1")
            signal.pause()
        finally:
            os._exit(1)
    assert os.read(ready, 1)
    assert _slug(new, _demand("mine")) == "no-slot"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    new.admission.check(_demand("mine"))
    assert len(list((tmp_path / "ledger").glob("*.entries"))) == 1
    for descriptor in (ready, told):
        os.close(descriptor)


def test_an_entry_of_another_release_is_read_as_far_as_it_is_known() -> None:
    entry = Entry("key", "upload", "isos/ä.bin", 5, 7, (("owner", "o"),), "t", "o", 3, True)
    assert from_bytes(to_bytes(entry)) == entry
    assert from_bytes(b'{"key": "a", "colour": "blue"}') == Entry("a")


def test_the_longest_entry_is_told_in_full(tmp_path: Path) -> None:
    token, owner, size = "~" * 128, "\U0001f4be" * 128, 2**63
    parties = (("token", token), ("owner", owner), ("address", "2001:db8:ffff:ffff::/64"))
    place = place_of(PurePosixPath("\U0001f4be/" * 600))
    key = f"body of {token}"
    entry = Entry(key, "waiting", place, size, 99, parties, token, owner, size, True, 1 / 3e9, True)
    one, other = SharedLedger(tmp_path), SharedLedger(tmp_path)
    with one.alone():
        one.put(entry)
    with other.alone() as elsewhere:
        assert elsewhere.entries == (entry,)


def test_a_name_of_any_length_is_taken_in_both(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    path = "\U0001f4be" * 1200
    with old.admission.admit(_demand("token", path=path, claim=Claim("o", "token", None, 7, 7))):
        assert _slug(new, _demand("token")) == "upload-in-progress"
        assert _slug(new, _demand("other", path=path)) == "name-taken"
        with new.shared.alone() as elsewhere:
            assert [each.claimed for each in elsewhere.of("o")] == [7]


def test_what_ends_is_given_back_though_others_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    left = old.admission.admit(_demand("old"))
    with ExitStack() as ends:
        ends.enter_context(new.admission.admit(_demand("new", disk=MIB)))
        ends.enter_context(new.admission.promising("more", MIB))
        ends.callback(monkeypatch.setattr, os, "listdir", _no_descriptor)
    assert (new.admission.slots().used, new.admission.disk().reserved) == (1, 0)
    monkeypatch.undo()
    left.__exit__(None, None, None)
    assert new.admission.slots().used == 0


def test_of_a_folder_that_is_gone_nobody_holds_anything(tmp_path: Path) -> None:
    old, new = Process(tmp_path), Process(tmp_path)
    with old.admission.admit(_demand("old")), new.admission.admit(_demand("new")):
        assert new.admission.slots().used == 2
        shutil.rmtree(tmp_path / "ledger")
        assert new.admission.slots().used == 1
    assert new.admission.slots().used == 0


def _no_descriptor(path: Path) -> list[str]:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), path)


def test_where_others_cannot_be_told_a_process_counts_for_itself(tmp_path: Path) -> None:
    process = Process(tmp_path)
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, process.shared._own)
    os.close(full)
    with ExitStack() as uploads:
        for n in range(4):
            uploads.enter_context(process.admission.admit(_demand(f"{n}", f"o{n}")))
        assert _slug(process, _demand("one more", "another")) == "no-slot"
    process.admission.check(_demand("one more", "another"))


def test_without_a_folder_for_it_each_process_is_alone(tmp_path: Path) -> None:
    assert beside(tmp_path / "missing" / "agent.sock") is None


@dataclass
class Upload:
    process: Process
    reservation: Reservation
    owner: str
    disk: int


class Node(RuleBasedStateMachine):
    """Up to three processes come, admit, give back, and are killed in the middle of it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.processes = [Process(self.folder)]
        self.uploads: dict[str, Upload] = {}
        self.number = 0

    def teardown(self) -> None:
        for key in list(self.uploads):
            self.uploads.pop(key).reservation.__exit__(None, None, None)
        for process in self.processes:
            assert process.admission.slots().used == 0
            assert process.admission.disk().reserved == 0
            process.kill()
        self.stack.close()

    @rule()
    def come(self) -> None:
        if len(self.processes) < 3:
            self.processes.append(Process(self.folder))

    @rule(which=st.integers(0, 2), owner=st.sampled_from("ab"), disk=st.integers(0, 5))
    def admit(self, which: int, owner: str, disk: int) -> None:
        process = self.processes[which % len(self.processes)]
        self.number += 1
        demand = Demand(f"{self.number}", None, disk * MIB, sender=Sender(f"{self.number}", owner))
        full = len(self.uploads) >= SIZING.upload_slots
        most = int(SHARES.per_owner * SIZING.upload_slots)
        own = sum(each.owner == owner for each in self.uploads.values())
        try:
            reservation = process.admission.admit(demand)
        except ProblemError as problem:
            assert full or own >= most, problem
            return
        assert not full
        assert own < most
        self.uploads[demand.key] = Upload(process, reservation, owner, disk * MIB)

    @rule(which=st.integers(0, 3))
    def end(self, which: int) -> None:
        if self.uploads:
            key = sorted(self.uploads)[which % len(self.uploads)]
            self.uploads.pop(key).reservation.__exit__(None, None, None)

    @rule(which=st.integers(0, 2))
    def kill(self, which: int) -> None:
        if len(self.processes) > 1:
            process = self.processes.pop(which % len(self.processes))
            process.kill()
            gone = [key for key, each in self.uploads.items() if each.process is process]
            for key in gone:
                del self.uploads[key]

    @invariant()
    def all_tell_the_same(self) -> None:
        for process in self.processes:
            assert process.admission.slots().used == len(self.uploads)
            promised = sum(each.disk for each in self.uploads.values())
            assert process.admission.disk().reserved == promised


Node.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestNode = Node.TestCase
