"""An upload is admitted only when everything it can come to need is there."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from agent.problems import ProblemError
from agent.uploads.admission import Admission, Demand
from portside.quantities import GIB
from portside.sizing import Machine, size
from portside.wire.status import INODES_PER_FILE

SIZING = replace(size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)), upload_slots=2)
PLENTY = 100 * GIB


@dataclass(frozen=True)
class Begun:
    """An index with so many files of resumable uploads, of which none was promised anything."""

    files: int = 0

    def files_begun(self) -> int:
        return self.files

    def promises(self) -> list[tuple[str, int, int]]:
        return []


def _ledger(root: Path, available: int = PLENTY) -> Admission:
    return Admission(root, SIZING, begun=Begun(), memory_available=lambda: available)


def _slug(ledger: Admission, demand: Demand) -> str:
    with pytest.raises(ProblemError) as refused:
        ledger.check(demand)
    return refused.value.slug


def _demand(jti: str = "a", path: str | None = None, disk: int = 0) -> Demand:
    return Demand(jti, None if path is None else PurePosixPath(path), disk)


def _free(root: Path) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize


def test_slots_are_given_back(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    with ledger.admit(_demand("a")), ledger.admit(_demand("b")):
        assert _slug(ledger, _demand("c")) == "no-slot"
        assert ledger.slots().used == 2
    ledger.check(_demand("c"))
    assert ledger.slots().used == 0


def test_a_share_is_given_back_when_the_upload_fails(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    with pytest.raises(RuntimeError), ledger.admit(_demand(disk=GIB)):
        raise RuntimeError
    assert (ledger.slots().used, ledger.disk().reserved) == (0, 0)


def test_no_upload_starts_on_the_last_memory(tmp_path: Path) -> None:
    enough = SIZING.memory_kept_free + SIZING.upload_memory
    _ledger(tmp_path, available=enough).check(_demand())
    assert _slug(_ledger(tmp_path, available=enough - 1), _demand()) == "no-memory"


def test_disk_is_promised_once(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    more_than_half = _free(tmp_path) * 6 // 10
    with ledger.admit(_demand("a", disk=more_than_half)) as first:
        assert ledger.disk().reserved == more_than_half
        assert _slug(ledger, _demand("b", disk=more_than_half)) == "no-space"
        # Once blocks are taken on disk, free space itself shows them.
        with first.growing(GIB):
            assert ledger.disk().reserved == more_than_half
        assert ledger.disk().reserved == more_than_half - GIB
    assert ledger.disk().reserved == 0


def test_beyond_its_promise_an_upload_takes_what_nobody_was_promised(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    spare = _free(tmp_path) - SIZING.disk_kept_free
    with ledger.admit(_demand("a", disk=GIB)) as first, ledger.admit(_demand("b", disk=GIB)):
        with first.growing(2 * GIB):
            pass
        assert ledger.disk().reserved == GIB
        with pytest.raises(ProblemError, match="don't fit"), first.growing(spare):
            raise AssertionError("the blocks were taken")


def test_the_share_kept_free_is_never_promised(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    assert _slug(ledger, _demand(disk=_free(tmp_path))) == "no-space"


def test_a_token_and_a_name_are_in_use_once(tmp_path: Path) -> None:
    ledger = _ledger(tmp_path)
    with ledger.admit(_demand("a", path="isos/x.iso")):
        assert _slug(ledger, _demand("a")) == "upload-in-progress"
        assert _slug(ledger, _demand("b", path="isos/x.iso")) == "name-taken"
        ledger.check(_demand("b", path="isos/y.iso"))
        # Dated uploads have no path before they end: they never stand in each other's way.
        ledger.check(_demand("b"))


@pytest.mark.parametrize(("kind", "most"), [("copy", 2), ("waiting", 6)])
def test_copies_have_a_quarter_of_the_slots_and_leave_as_many_free(
    tmp_path: Path, kind: Literal["copy", "waiting"], most: int
) -> None:
    ledger = Admission(tmp_path, replace(SIZING, upload_slots=8), Begun(), lambda: PLENTY)
    with ExitStack() as running:
        for number in range(most):
            running.enter_context(ledger.admit(Demand(f"{kind} {number}", None, 0, kind)))
        assert _slug(ledger, Demand("more", None, 0, kind)) == "no-slot"
        for number in range(8 - most):
            running.enter_context(ledger.admit(_demand(f"upload {number}")))
        assert _slug(ledger, _demand("one more")) == "no-slot"


@pytest.mark.parametrize("kind", ["copy", "waiting"])
def test_on_the_smallest_node_one_copy_has_its_turn(
    tmp_path: Path, kind: Literal["copy", "waiting"]
) -> None:
    ledger = Admission(tmp_path, replace(SIZING, upload_slots=1), Begun(), lambda: PLENTY)
    with ledger.admit(Demand("one", None, 0, kind)):
        assert _slug(ledger, Demand("two", None, 0, kind)) == "no-slot"


class _Inodes:
    """What statvfs says of a filesystem with this many inodes."""

    def __init__(self, total: int, free: int) -> None:
        self.f_files, self.f_favail = total, free
        self.f_bavail = self.f_blocks = GIB
        self.f_frsize = 4096


def _with_inodes(
    monkeypatch: pytest.MonkeyPatch, root: Path, total: int, free: int, begun: int = 0
) -> Admission:
    monkeypatch.setattr(os, "statvfs", lambda path: _Inodes(total, free))
    return Admission(root, SIZING, begun=Begun(begun), memory_available=lambda: PLENTY)


@pytest.mark.parametrize(("free", "fits"), [(1007, True), (1006, False), (0, False)])
def test_a_file_is_admitted_with_all_the_inodes_it_may_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, fits: bool
) -> None:
    ledger = _with_inodes(monkeypatch, tmp_path, 100_000, free)
    new = Demand("a", None, 1, inodes=INODES_PER_FILE)
    if fits:
        ledger.check(new)
        ledger.check_space(1, INODES_PER_FILE)
        assert ledger.shortages() == ()
    else:
        assert _slug(ledger, new) == "no-space"
        with pytest.raises(ProblemError, match="no inodes are left"):
            ledger.check_space(1, INODES_PER_FILE)
        (words,) = ledger.shortages()
        assert words.startswith("inodes-used-up: ")
    # What has begun has its file: it goes on.
    ledger.check(_demand("b"))
    ledger.check_space(1, 0)


def test_inodes_are_promised_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Demand("a", None, 1, inodes=INODES_PER_FILE)
    ledger = _with_inodes(monkeypatch, tmp_path, 100_000, 1013)
    with ledger.admit(new):
        assert _slug(ledger, Demand("b", None, 1, inodes=INODES_PER_FILE)) == "no-space"
        assert ledger.disk().inodes.reserved == INODES_PER_FILE
    begun = _with_inodes(monkeypatch, tmp_path, 100_000, 1012, begun=1)
    assert _slug(begun, new) == "no-space"


def test_a_filesystem_that_makes_inodes_as_it_needs_them_has_no_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = _with_inodes(monkeypatch, tmp_path, 0, 0)
    ledger.check(Demand("a", None, 1, inodes=INODES_PER_FILE))
    assert ledger.shortages() == ()


def test_a_disk_without_bytes_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = _with_inodes(monkeypatch, tmp_path, 0, 0)
    full = _Inodes(0, 0)
    full.f_bavail = 0
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    (words,) = ledger.shortages()
    assert words.startswith("disk-full: ")
