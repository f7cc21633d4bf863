"""Nobody has every slot, and only who is idle gives way."""

from __future__ import annotations

import pytest

from agent.uploads.bandwidth import Bandwidth
from agent.uploads.shares import Sender, SlotShares
from agent.uploads.slots import Slots
from portside.cluster.bandwidth import BandwidthLimits


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _slots(clock: _Clock, **shares: float) -> Slots:
    most = SlotShares(4, shares.get("owner", 0.5), shares.get("address", 0.5))
    return Slots(10, most, Bandwidth(BandwidthLimits(), clock), clock)


@pytest.mark.parametrize(
    ("most", "sender"),
    [
        (4, lambda n: Sender("token", f"owner {n}")),
        (5, lambda n: Sender(f"token {n}", "owner")),
        (5, lambda n: Sender(f"token {n}", f"owner {n}", f"2001:db8::{n}")),
        (5, lambda n: Sender(f"token {n}", f"owner {n}", "192.0.2.1")),
    ],
)
def test_one_party_has_its_share_and_no_more(most: int, sender: object) -> None:
    slots = _slots(_Clock())
    assert callable(sender)
    for number in range(most):
        assert slots.taken("upload", sender(number)) is None
        slots.take(str(number), "upload", sender(number))
    taken = slots.taken("upload", sender(most))
    assert taken is not None
    assert taken.problem.slug == "too-many-uploads"
    assert slots.taken("upload", Sender("other", "another", "198.51.100.1")) is None


@pytest.mark.parametrize(
    ("seconds", "count", "gives_way"),
    [(61, 0, True), (59, 0, False), (1, 1, True), (1, 2048, False), (30, 64 * 1024, False)],
)
def test_silence_gives_way_and_steady_slowness_never(
    seconds: int, count: int, gives_way: bool
) -> None:
    clock = _Clock()
    slots = _slots(clock)
    senders = [Sender("token", "owner")] * 4
    receiving = [slots.take(str(n), "upload", each) for n, each in enumerate(senders)]
    receiving[0].begin()
    for _ in range(max(1, 7200 // seconds) if count else 1):
        clock.now += seconds
        if count:
            receiving[0].came(count)
    taken = slots.taken("upload", senders[0])
    assert taken is not None
    assert slots.make_way(taken) == gives_way
    assert receiving[0].told == gives_way


def test_what_our_own_disk_takes_is_nobodys_slowness() -> None:
    clock = _Clock()
    slots = _slots(clock)
    receiving = slots.take("one", "upload", Sender("token", "owner"))
    receiving.begin()
    receiving.came(1)
    receiving.rest()
    clock.now += 7200
    assert receiving.idle_for() == 0
