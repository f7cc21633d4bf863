"""Who is idle gives way to a newcomer of another process, by the rules that hold within one."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from agent.incoming.receiving import Receiving
from agent.problems import ProblemError
from agent.uploads import admission, slots
from agent.uploads.admission import Admission, Demand, Reservation
from agent.uploads.shared import handing_back
from agent.uploads.shared.ledger import SharedLedger
from agent.uploads.shares import Kind, Sender, SlotShares
from portside.quantities import GIB
from portside.sizing import Machine, size
from tests.support.agent.no_uploads import NothingBegun
from tests.support.loopback import wait_until

SIZING = replace(size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)), upload_slots=4)
SHARES = SlotShares(per_token=2**31, per_owner=0.5, per_address=1)


class Clock:
    """All processes of a machine have one."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Upload:
    reservation: Reservation
    receiving: Receiving

    def end_when_told(self) -> threading.Thread:
        def end() -> None:
            wait_until(lambda: self.receiving.told)
            self.reservation.__exit__(None, None, None)

        thread = threading.Thread(target=end, daemon=True)
        thread.start()
        return thread


class Process:
    """One agent process: its ledger, and its looks at what the other asks."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.shared = SharedLedger(folder / "ledger")
        self.admission = Admission(
            *(folder, SIZING, NothingBegun()),
            memory_available=lambda: 100 * GIB,
            shares=SHARES,
            shared=self.shared,
        )
        self.admission._slots._clock = clock

    def take(
        self, key: str, owner: str = "", kind: Kind = "upload", *, resumable: bool = False
    ) -> Upload:
        reservation = self.admission.admit(_demand(key, owner, kind, resumable=resumable))
        holder = self.admission._slots._holders[key]
        holder.receiving.begin()
        return Upload(reservation, holder.receiving)

    def slug(self, demand: Demand) -> str:
        with pytest.raises(ProblemError) as refused:
            self.admission.check(demand)
        return refused.value.slug


def _demand(key: str, owner: str = "", kind: Kind = "upload", *, resumable: bool = False) -> Demand:
    sender = Sender(key, owner or f"owner of {key}")
    return Demand(key, None, 0, kind=kind, sender=sender, resumable=resumable)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def old(tmp_path: Path, clock: Clock) -> Process:
    return Process(tmp_path, clock)


@pytest.fixture
def new(tmp_path: Path, clock: Clock) -> Process:
    return Process(tmp_path, clock)


def test_the_idlest_of_an_old_process_gives_way_to_a_newcomer(
    old: Process,
    new: Process,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "SCARCE", 1)
    # However slow this computer is.
    monkeypatch.setattr(admission, "MAKING_WAY", 60.0)
    first = old.take("0")
    clock.now += 1
    uploads = [first, *(old.take(f"{number}") for number in range(1, 4))]
    clock.now += 3000
    stop = handing_back.watch(old.admission, tmp_path, every=0.01)
    ends = first.end_when_told()
    wait_until(lambda: _is_idle(new, "0"))
    new.admission.check(_demand("new"))
    with new.admission.admit(_demand("new")):
        ends.join()
        assert [each.receiving.told for each in uploads] == [True, False, False, False]
        assert not first.receiving.handed_back
        assert new.admission.slots().gave_way == 1
    stop()


def _is_idle(process: Process, key: str) -> bool:
    process.admission.slots()
    entry = process.admission._elsewhere.find(key)
    return entry is not None and entry.idle_since is not None


def test_nobody_is_ended_for_whom_no_newcomer_comes(
    old: Process, new: Process, clock: Clock
) -> None:
    uploads = [old.take(f"{number}") for number in range(4)]
    clock.now += 3000
    for process in (old, new, old):
        process.admission.heed_others()
    assert not any(each.receiving.told for each in uploads)


@pytest.mark.parametrize("seconds", [0, 59])
def test_who_is_not_idle_for_long_enough_stays(
    old: Process, new: Process, clock: Clock, seconds: float
) -> None:
    uploads = [old.take(f"{number}") for number in range(4)]
    clock.now += seconds
    old.admission.heed_others()
    assert new.slug(_demand("new")) == "no-slot"
    old.admission.heed_others()
    assert not any(each.receiving.told for each in uploads)


def test_who_sends_again_meanwhile_stays(old: Process, new: Process, clock: Clock) -> None:
    uploads = [old.take(f"{number}") for number in range(4)]
    clock.now += 61
    old.admission.heed_others()
    new.admission.check(_demand("new"))
    for each in uploads:
        each.receiving.came(100_000)
    old.admission.heed_others()
    assert not any(each.receiving.told for each in uploads)
    assert new.slug(_demand("new")) == "no-slot"
    clock.now += 61
    old.admission.heed_others()
    assert not any(each.receiving.told for each in uploads), "what was asked is forgotten"


def test_an_owner_beyond_its_share_ends_its_own_alone(
    old: Process, new: Process, clock: Clock
) -> None:
    other, own = old.take("other"), [old.take("1", "o"), old.take("2", "o")]
    clock.now += 61
    old.admission.heed_others()
    new.admission.check(_demand("3", "o"))
    old.admission.heed_others()
    assert sum(each.receiving.told for each in own) == 1
    assert not other.receiving.told


def test_a_copy_ends_idle_copies_alone(old: Process, new: Process, clock: Clock) -> None:
    upload, copy = old.take("upload"), old.take("copy", kind="copy")
    clock.now += 61
    old.admission.heed_others()
    new.admission.check(_demand("another", kind="copy"))
    old.admission.heed_others()
    assert (copy.receiving.told, upload.receiving.told) == (True, False)


def test_beyond_four_fifths_a_newcomer_ends_the_idle_of_both(
    old: Process, new: Process, clock: Clock
) -> None:
    idle = [old.take(f"{number}") for number in range(2)]
    clock.now += 61
    old.admission.heed_others()
    busy = new.take("busy")
    old.admission.heed_others()
    assert slots.SCARCE * SIZING.upload_slots < 4
    assert not any(each.receiving.told for each in idle)
    last = new.take("last")
    old.admission.heed_others()
    assert sum(each.receiving.told for each in idle) == 1
    assert not (busy.receiving.told or last.receiving.told)


def test_who_was_asked_for_two_newcomers_is_ended_once_for_both(
    old: Process, new: Process, clock: Clock
) -> None:
    uploads = [old.take(f"{number}") for number in range(4)]
    clock.now += 61
    old.admission.heed_others()
    for number in range(3):
        new.admission.check(_demand(f"new {number}"))
        old.admission.heed_others()
    assert sum(each.receiving.told for each in uploads) == 1


def test_a_slot_that_is_handed_back_will_be_there(old: Process, new: Process) -> None:
    with ExitStack() as running:
        for number in range(3):
            running.enter_context(old.take(f"{number}").reservation)
        running.enter_context(old.take("3", resumable=True).reservation)
        assert new.slug(_demand("new")) == "no-slot"
        assert old.admission.hand_back() == 1
        old.admission.heed_others()
        new.admission.check(_demand("new"))


def test_who_was_asked_as_idle_is_taken_over_though_it_sends_again(
    old: Process, new: Process, clock: Clock
) -> None:
    uploads = [old.take(f"{number}", resumable=True) for number in range(4)]
    clock.now += 61
    old.admission.heed_others()
    new.admission.check(_demand("new"))
    (key,) = new.admission._slots.asks
    told = uploads[int(key)].receiving
    told.came(100_000)
    assert new.admission.take_over(key)
    old.admission.heed_others()
    assert (told.told, told.handed_back) == (True, True)


def test_a_newer_request_takes_over_from_another_process(old: Process, new: Process) -> None:
    resumable, whole = old.take("resumable", resumable=True), old.take("whole")
    assert not new.admission.take_over("nobody")
    assert not new.admission.take_over("whole")
    assert new.admission.is_elsewhere("resumable")
    old.admission.heed_others()
    assert not resumable.receiving.told
    assert new.admission.take_over("resumable")
    old.admission.heed_others()
    assert (resumable.receiving.told, resumable.receiving.handed_back) == (True, True)
    assert not whole.receiving.told
    resumable.reservation.__exit__(None, None, None)
    assert not new.admission.take_over("resumable")
    assert not new.admission._slots.asks
