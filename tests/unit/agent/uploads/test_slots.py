"""Nobody has every slot, and only who is idle gives way."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from agent.incoming.receiving import Receiving
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


class _Busy:
    """A pace at which nothing may come for two hours."""

    def __init__(self, clock: _Clock, ask: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._ask = ask
        self.left = False

    def piece(self, most: int) -> tuple[int, float]:
        if self._clock.now >= 7200:
            return 1, 0.0
        self._clock.now += 600
        self._ask()
        return 0, 0.001

    def came(self, count: int) -> None:
        raise AssertionError("nothing has come")

    def leave(self) -> None:
        self.left = True


def test_time_in_which_nothing_may_come_is_nobodys_slowness() -> None:
    clock = _Clock()
    idle: list[float] = []
    receiving = Receiving(1, clock, _Busy(clock, lambda: idle.append(receiving.idle_for())))
    near, far = socket.socketpair()
    with near, far:
        receiving.begin()
        clock.now += 10
        assert receiving.piece(near, 100) == 1
    # Before it was asked the client was waited for.
    assert idle == [10 + 600, *[0] * 11]
    assert receiving.idle_for() == 0


@pytest.mark.parametrize("ends", ["hangs up", "gives way"])
def test_who_waits_for_bandwidth_hears_at_once_of_the_end(ends: str) -> None:
    clock = _Clock()
    pace = _Busy(clock)
    receiving = Receiving(1, clock, pace)
    near, far = socket.socketpair()
    with near, far:
        if ends == "hangs up":
            far.close()
        else:
            receiving.give_way()
        assert receiving.piece(near, 100) == 100
    assert clock.now == 600
    receiving.close()
    assert pace.left


def test_where_nothing_is_bounded_nobody_is_asked() -> None:
    receiving = _slots(_Clock()).take("one", "upload", Sender("token", "owner"))
    assert receiving.pace is None


def test_what_our_own_disk_takes_is_nobodys_slowness() -> None:
    clock = _Clock()
    slots = _slots(clock)
    receiving = slots.take("one", "upload", Sender("token", "owner"))
    receiving.begin()
    receiving.came(1)
    receiving.rest()
    clock.now += 7200
    assert receiving.idle_for() == 0
