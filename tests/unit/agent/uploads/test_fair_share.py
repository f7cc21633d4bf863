"""Bandwidth that is scarce is shared fairly, and none of it is left unused."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass

import pytest

from agent.uploads.bandwidth import MOST_WAIT
from agent.uploads.fair_share import FairShare, Lane, max_min
from portside.cluster.bandwidth import BandwidthLimits
from portside.quantities import GIB, KIB, MIB

BUFFER = 1 * MIB
"""Read at once where nothing bounds it."""


@dataclass(frozen=True)
class _Sends:
    """An upload of `owner` over a line of so many bytes per second."""

    owner: str
    upload: str
    line: int = 1 * GIB
    file: int | None = None
    """Bytes of each of many files that follow each other; None for one that never ends."""
    late: float = 0.002
    """Seconds by which it wakes too late."""


class _Simulated:
    """So many seconds of a node, on a clock of its own."""

    def __init__(self, limits: BandwidthLimits, sends: list[_Sends], seconds: float) -> None:
        self.shares = FairShare(limits)
        self.came: Counter[str] = Counter()
        lanes = [self._enter(each, 0) for each in sends]
        left = [each.file for each in sends]
        files = [0] * len(sends)
        turns = [(number / 1000, number) for number in range(len(sends))]
        while turns and turns[0][0] < seconds:
            now, number = heapq.heappop(turns)
            each = sends[number]
            most = BUFFER if left[number] is None else min(BUFFER, left[number] or 0)
            piece, wait = self.shares.piece(now, each.owner, lanes[number], most)
            if not piece:
                heapq.heappush(turns, (now + min(wait, MOST_WAIT) + each.late, number))
                continue
            self.shares.came(lanes[number], piece)
            # What comes at first is let in before anything is owed.
            if now > 1:
                self.came[each.owner] += piece
                self.came[each.upload] += piece
            if each.file is not None:
                left[number] = (left[number] or 0) - piece
                if not left[number]:
                    self.shares.leave(each.owner, lanes[number])
                    files[number] += 1
                    lanes[number] = self._enter(each, files[number])
                    left[number] = each.file
            heapq.heappush(turns, (now + piece / each.line, number))
        self._seconds = seconds - 1
        self.lanes = list(zip(sends, lanes, strict=True))

    def _enter(self, each: _Sends, number: int) -> Lane:
        upload = each.upload if each.file is None else f"{each.upload} {number}"
        return self.shares.enter(each.owner, upload, is_copy=each.owner == "copies")

    def rate(self, name: str) -> float:
        """Bytes per second of an owner or an upload, after the first second."""
        return self.came[name] / self._seconds


@pytest.mark.parametrize(
    ("total", "wants", "shares"),
    [
        (10, [], []),
        (10, [3, 4], [3, 4]),
        (10, [100, 100], [5, 5]),
        (10, [1, 100, 100], [1, 4.5, 4.5]),
        (9, [2, 8, 3], [2, 4, 3]),
        (float("inf"), [2, 8], [2, 8]),
    ],
)
def test_nobody_gets_less_than_another_who_wants_more(
    total: float, wants: list[float], shares: list[float]
) -> None:
    assert max_min(total, wants) == pytest.approx(shares)


ALICE = [_Sends("alice", f"a{number}") for number in range(3)]
BOB = _Sends("bob", "b0")


@pytest.mark.parametrize(
    ("limits", "sends", "rates"),
    [
        pytest.param(
            {"node": 10 * MIB}, [*ALICE, BOB], {"alice": 5, "bob": 5, "a0": 1.67}, id="two owners"
        ),
        pytest.param({"node": 10 * MIB}, ALICE, {"alice": 10, "a0": 3.33, "a1": 3.33}, id="alone"),
        pytest.param(
            {"node": 10 * MIB}, [_Sends("alice", "a0")], {"a0": 10}, id="one may have all of it"
        ),
        pytest.param(
            {"node": 10 * MIB, "owner": 2 * MIB}, [*ALICE, BOB], {"alice": 2, "bob": 2}, id="owners"
        ),
        pytest.param(
            {"node": 10 * MIB, "upload": 1 * MIB},
            [*ALICE, BOB],
            {"alice": 3, "bob": 1, "a1": 1},
            id="uploads",
        ),
        pytest.param(
            {"owner": 3 * MIB, "upload": 2 * MIB},
            [*ALICE, BOB],
            {"alice": 3, "a0": 1, "bob": 2},
            id="no bound of the node",
        ),
        pytest.param(
            {"node": 10 * MIB},
            [*ALICE, _Sends("bob", "b0", line=1 * MIB)],
            {"alice": 9, "bob": 1},
            id="what a slow line leaves goes to the others",
        ),
        pytest.param(
            {"node": 100 * MIB},
            [BOB, *(_Sends(f"slow {each}", f"s{each}", line=20 * KIB) for each in range(60))],
            {"bob": 100 - 60 * 20 / 1024},
            id="sixty that hardly send keep nothing from one",
        ),
        pytest.param(
            {"node": 64 * KIB},
            [_Sends(f"owner {each}", f"u{each}") for each in range(8)],
            {f"owner {each}": 1 / 128 for each in range(8)},
            id="very little, among many",
        ),
        pytest.param(
            {"node": 400 * MIB}, [*ALICE, BOB], {"alice": 200, "bob": 200}, id="a fast line"
        ),
        pytest.param(
            {"node": 10 * MIB},
            [*(_Sends("copies", f"c{each}") for each in range(9)), BOB],
            {"copies": 5, "bob": 5},
            id="copies are one party",
        ),
        pytest.param(
            {"owner": 1 * MIB, "node": 10 * MIB},
            [*(_Sends("copies", f"c{each}") for each in range(2)), BOB],
            {"copies": 9, "bob": 1},
            id="no owner's bound holds for copies",
        ),
        pytest.param(
            {"owner": 1 * MIB},
            [_Sends("alice", f"a{each}", file=10 * KIB) for each in range(4)],
            {"alice": 1},
            id="many small files are no faster than a large one",
        ),
        pytest.param(
            {"upload": 1 * MIB},
            [_Sends("alice", "a0", file=3 * KIB)],
            {"alice": 1},
            id="nor one after the other",
        ),
    ],
)
def test_shares(limits: dict[str, int], sends: list[_Sends], rates: dict[str, float]) -> None:
    simulated = _Simulated(BandwidthLimits(**limits), sends, 10 if len(rates) < 8 else 30)
    told = {name: round(simulated.rate(name) / MIB, 4) for name in rates}
    assert told == pytest.approx(rates, rel=0.06)


def test_what_was_slow_for_long_has_no_burst_to_claim() -> None:
    shares = FairShare(BandwidthLimits(node=10 * MIB))
    slow = shares.enter("alice", "a", is_copy=False)
    busy = shares.enter("bob", "b", is_copy=False)
    assert shares.piece(0, "alice", slow, BUFFER)[0]
    shares.came(busy, 10 * MIB)
    came = 0
    # An hour later.
    while (piece := shares.piece(3600, "alice", slow, BUFFER)[0]) and came < 100 * MIB:
        shares.came(slow, piece)
        came += piece
    assert came <= 3 * MIB


def test_nothing_is_kept_of_who_has_gone_and_owes_nothing() -> None:
    simulated = _Simulated(BandwidthLimits(node=10 * MIB), [*ALICE, BOB], 2)
    for sends, lane in simulated.lanes:
        simulated.shares.leave(sends.owner, lane)
    assert len(simulated.shares) > 0
    simulated.shares.pay(10)
    assert len(simulated.shares) == 0


def test_parts_of_one_upload_share_its_bound() -> None:
    parts = [_Sends("alice", "file")] * 4
    simulated = _Simulated(BandwidthLimits(upload=1 * MIB), parts, 5)
    assert simulated.rate("file") == pytest.approx(1 * MIB, rel=0.06)


def test_many_small_files_of_as_many_owners_are_held_to_the_nodes_bound() -> None:
    shares = FairShare(BandwidthLimits(node=64 * KIB))
    came, most_lanes = 0, 0
    for moment in range(2_000):
        owner = f"owner {moment}"
        lane = shares.enter(owner, "file", is_copy=False)
        piece, _ = shares.piece(moment / 100, owner, lane, 4 * KIB)
        shares.came(lane, piece)
        shares.leave(owner, lane)
        came += piece
        most_lanes = max(most_lanes, len(shares))
    assert came == pytest.approx(20 * 64 * KIB, rel=0.1)
    assert most_lanes < 50
