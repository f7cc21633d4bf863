"""A clock is believed once it has run evenly for some minutes, beside one that nobody can set."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from portside.clock import SETTLED, ClockWatch
from portside.tokens import LEEWAY


@dataclass
class Machine:
    """One whose clocks the test moves."""

    wall: float = 1_800_000_000.0
    up: float = 100_000.0

    def watch(self, last: tuple[float, float] | None = None) -> ClockWatch:
        return ClockWatch(lambda: self.wall, lambda: self.up, last)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


def test_a_machine_that_has_just_started_may_still_be_asking_for_the_time() -> None:
    machine = Machine(up=10)
    watch = machine.watch()
    assert not watch.is_settled
    machine.passes(SETTLED)
    assert watch.look() == 0
    assert watch.is_settled


def test_a_clock_that_was_set_is_not_believed_for_a_while() -> None:
    machine = Machine()
    watch = machine.watch()
    for step in (86400.0, -86400.0):
        assert watch.is_settled
        machine.wall += step
        assert watch.look() == step
        assert not watch.is_settled
        machine.passes(SETTLED - 1)
        assert watch.look() == 0
        assert not watch.is_settled
        machine.passes(1)


def test_what_a_time_service_corrects_bit_by_bit_is_no_step() -> None:
    machine = Machine()
    watch = machine.watch()
    for _ in range(100):
        machine.passes(5)
        machine.wall += LEEWAY / 10
        assert watch.look() == 0
        assert watch.is_settled


@pytest.mark.parametrize("step", [86400.0, -86400.0])
def test_a_clock_that_was_set_while_nobody_looked_is_found_out(step: float) -> None:
    machine = Machine()
    last = machine.wall, machine.up
    machine.passes(7200)
    assert machine.watch(last).is_settled
    machine.wall += step
    watch = machine.watch(last)
    assert not watch.is_settled
    assert watch.look() == step
    assert watch.look() == 0


def test_a_process_that_starts_anew_doubts_the_clock_as_the_one_before_it() -> None:
    """Which had seen the step, and noted a moment of the wrong clock since."""
    machine = Machine()
    watch = machine.watch()
    machine.wall += 86400
    watch.look()
    machine.passes(10)
    last = machine.wall, machine.up
    machine.passes(1)
    anew = ClockWatch(lambda: machine.wall, lambda: machine.up, last, watch.set_at)
    assert anew.look() == 0
    assert not anew.is_settled
    machine.passes(SETTLED)
    assert anew.is_settled


def test_after_a_start_of_the_machine_only_a_clock_that_went_back_is_certain() -> None:
    machine = Machine()
    last = machine.wall, machine.up
    machine.up = SETTLED + 1
    machine.wall += 7200
    assert machine.watch(last).look() == 0
    machine.wall -= 86400
    assert machine.watch(last).look() == 7200 - 86400
