"""An owner gets what the token's quota allows, to the byte, whoever else asks at the same time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier

import pytest

from agent.incoming.body import BodyCut
from agent.index.database import Database
from agent.index.uploads import UploadIndex
from agent.index.usage import OPEN, Amounts, AtWork, UsageIndex, Used
from agent.problems import ProblemError
from agent.storage.staging import STEP
from agent.uploads.admission import Admission, Demand
from agent.uploads.quotas import Claim, Grown, Quotas, claim_of
from portside.quantities import GIB, MIB
from portside.sizing import Machine, size
from portside.wire.claims import Quota
from tests.support.minting import upload_claims

SIZING = replace(size(Machine(ram=8 * GIB, cores=2, disk=10 * GIB)), upload_slots=50)


@dataclass
class Index:
    """What it knows of everybody; of open uploads nothing."""

    stored: Amounts = field(default_factory=Amounts)

    def of(self, owner: str, at_work: Sequence[AtWork], but: str | None = None) -> Used:
        others = [each for each in at_work if each.token != but]
        begun = Amounts(len(others), sum(each.bytes for each in others))
        return Used({"COMMITTED": self.stored, OPEN: begun})


def claim(length: int | None, number: str = "a", limit: int = GIB, **quota: int) -> Claim:
    asked = upload_claims(
        "lab",
        "s01",
        {
            "sub": "alice",
            "namespace": "isos",
            "jti": f"token-{number:0>4}",
            "quota": Quota(**quota) if quota else None,
            "max_size": limit,
        },
    )
    return claim_of(asked, length, limit)


@pytest.mark.parametrize(
    ("stored", "asked", "refused"),
    [
        (Amounts(1, 90), claim(10, bytes=100), None),
        (
            Amounts(1, 10 * GIB - 200 * MIB),
            claim(GIB + 205 * MIB, bytes=10 * GIB),
            "alice has 9.8 GiB of 10.0 GiB on this node; this file has 1.2 GiB: delete files, or "
            "ask for more",
        ),
        (
            Amounts(),
            claim(12 * GIB, bytes=10 * GIB),
            "this file has 12.0 GiB, and alice may have 10.0 GiB in all on this node: ask for more",
        ),
        (
            Amounts(1, 100),
            claim(None, bytes=100),
            "alice has 100 B of 100 B on this node: delete files, or ask for more",
        ),
        (Amounts(1, 100), claim(0, bytes=100), None),
        (Amounts(1, 101), claim(0, bytes=100), "alice has 101 B of 100 B on this node"),
        (Amounts(2, 0), claim(0, files=3), None),
        (
            Amounts(3, 0),
            claim(0, files=3),
            "alice has 3 of 3 files on this node: delete some, or ask for more",
        ),
        (Amounts(), claim(0, files=0), "alice has 0 of 0 files on this node"),
        (Amounts(9, 10**18), claim(10**18), None),
    ],
)
def test_a_file_fits_or_its_owner_hears_why_not(
    stored: Amounts, asked: Claim, refused: str | None
) -> None:
    quotas = Quotas(Index(stored))
    if refused is None:
        assert quotas.check(asked) == asked.most
        return
    with pytest.raises(ProblemError) as problem:
        quotas.check(asked)
    assert (problem.value.slug, problem.value.status) == ("over-quota", 413)
    assert problem.value.detail.startswith(refused)


def test_what_is_under_way_counts_and_is_told() -> None:
    quotas = Quotas(Index(Amounts(1, 10)))
    quotas.hold("first", claim(80, "a", bytes=100))
    with pytest.raises(ProblemError, match=r"90 B of 100 B on this node \(80 B of that under way"):
        quotas.hold("second", claim(11, "b", bytes=100))
    quotas.hold("second", claim(10, "b", bytes=100))
    with pytest.raises(ProblemError, match=r"3 of 3 files on this node, 2 of them under way"):
        quotas.check(claim(0, "c", files=3))
    quotas.let_go("first")
    assert quotas.check(claim(80, "c", bytes=100)) == 80


def test_an_upload_without_a_quota_counts_for_those_that_have_one() -> None:
    quotas = Quotas(Index())
    quotas.hold("first", claim(95, "a"))
    with pytest.raises(ProblemError, match="95 B of 100 B"):
        quotas.check(claim(6, "b", bytes=100))


def test_of_unknown_size_an_upload_is_let_in_with_what_is_left() -> None:
    quotas = Quotas(Index(Amounts(1, 60)))
    assert quotas.hold("first", claim(None, "a", bytes=100)) == 40
    with pytest.raises(ProblemError):
        quotas.check(claim(None, "b", bytes=100))
    assert Quotas(Index()).check(claim(None, bytes=3 * GIB, limit=2 * GIB)) == GIB


def test_a_form_is_not_refused_for_what_is_around_its_file() -> None:
    asked = upload_claims("lab", "s01", {"namespace": "isos", "quota": {"bytes": 100}})
    form = claim_of(asked, 300, GIB, beside=250)
    assert Quotas(Index()).check(form) == 100
    with pytest.raises(ProblemError, match="this file has 50 B or more"):
        Quotas(Index(Amounts(1, 51))).check(form)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Admission]:
    database = Database(tmp_path / "index.sqlite")
    yield Admission(
        *(tmp_path, replace(SIZING, disk_kept_free=0), UploadIndex(database)),
        memory_available=lambda: 100 * GIB,
        usage=UsageIndex(database),
    )
    database.close()


def demand(token: str, claimed: Claim) -> Demand:
    return Demand(token, None, 0, claim=claimed)


def test_of_many_at_once_as_many_are_let_in_as_fit(ledger: Admission) -> None:
    together = Barrier(8)

    def ask(number: int) -> bool:
        asked = demand(f"{number}", claim(30, f"{number}", bytes=100))
        together.wait()
        with ExitStack() as until_all_have_asked:
            try:
                until_all_have_asked.enter_context(ledger.admit(asked))
            except ProblemError as problem:
                assert problem.slug == "over-quota"
                let_in = False
            else:
                let_in = True
            together.wait()
        return let_in

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(8))) == 3
    # All has been given back.
    ledger.check(demand("x", claim(100, "x", bytes=100)))


def test_a_creation_and_a_request_never_get_the_same_bytes(ledger: Admission) -> None:
    with ledger.promising("begin a", 60, claim(60, "a", bytes=100)) as granted:
        assert granted == 60
        with pytest.raises(ProblemError, match="over-quota"):
            ledger.check(demand("b", claim(41, "b", bytes=100)))
        with ledger.admit(demand("b", claim(40, "b", bytes=100))):
            assert ledger.used("alice").bytes == 100
    assert ledger.used("alice").bytes == 0


class Pieces:
    """A body that comes in pieces, and may be cut behind them."""

    def __init__(self, *sizes: int, cut: int | None = None) -> None:
        self._sizes = [*sizes, 0]
        self._cut = cut

    def fill(self, buffer: memoryview) -> int:
        if len(self._sizes) == 1 and self._cut is not None:
            raise BodyCut("cut", self._cut)
        return self._sizes.pop(0)


def fill_all(body: Grown) -> int:
    total = 0
    while filled := body.fill(memoryview(b"")):
        total += filled
    return total


def test_a_body_that_grows_takes_no_byte_too_much(ledger: Admission) -> None:
    asked = demand("a", claim(None, "a", bytes=2 * GIB + 5))
    with ledger.admit(asked) as reservation:
        grown = reservation.within_quota(Pieces(GIB, GIB, 5))
        assert isinstance(grown, Grown)
        assert fill_all(grown) == 2 * GIB + 5
        # Others hear of it as it grows.
        assert ledger.used("alice").bytes == 2 * GIB + 5
    for body in (Pieces(GIB, GIB, 6), Pieces(GIB, GIB, cut=6)):
        with ledger.admit(asked) as reservation:
            grown = reservation.within_quota(body)
            assert isinstance(grown, Grown)
            with pytest.raises(ProblemError, match=r"this file has 2\.0 GiB or more"):
                fill_all(grown)


def test_a_body_asks_once_a_step() -> None:
    asked: list[int] = []

    def reach(size: int) -> int:
        asked.append(size)
        return size + STEP

    assert fill_all(Grown(Pieces(*[MIB] * 200), 10, 5 * MIB, reach)) == 200 * MIB
    # At its first byte too much, each time.
    assert len(asked) == 4
    assert asked[:2] == [5 * MIB + 10, 70 * MIB + 10]
