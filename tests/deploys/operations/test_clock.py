"""A clock that is off is set before apt and TLS look at it; what can't be set is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyinfra.context import ctx_host

from deploys.hosts.clock import Clock, ClockState
from deploys.operations import clock
from tests.support.deploys.this_computer import Programs, ThisComputer

DAY = 86400

clock_right = clock.clock_right._inner


class Told(ThisComputer):
    """A host whose clock is as told."""

    def __init__(self, state: ClockState | None) -> None:
        super().__init__()
        self.state = state

    def get_fact(self, fact: type[Any], **arguments: Any) -> Any:
        return self.state


@contextmanager
def host(off: float, kept: bool = False, container: bool = False) -> Iterator[Told]:
    told = Told(ClockState(int(time.time() + off), kept, container))
    with ctx_host.use(told):
        yield told


def test_this_computers_own_clock_is_right(this_computer: ThisComputer) -> None:
    assert abs(this_computer.get_fact(Clock).seconds - time.time()) < clock.TOLERATED
    assert list(clock_right()) == []


@pytest.mark.parametrize("off", [-400 * DAY, -120, 120, 400 * DAY])
def test_a_clock_that_is_off_is_set(off: float) -> None:
    with host(off) as told:
        assert len(list(clock_right())) == 1
    assert ("ahead" if off > 0 else "behind") in told.said[0]


def test_a_containers_clock_is_said_to_be_wrong_and_left() -> None:
    with host(-3 * DAY, container=True) as told:
        assert list(clock_right()) == []
    assert told.said == [
        "its clock is 3 days, 0:00:00 behind, and in a container can't be set: set that of the "
        "machine underneath"
    ]


def test_a_time_server_is_believed_rather_than_the_operators_clock() -> None:
    with host(3600, kept=True) as told:
        assert list(clock_right()) == []
    assert "it is this computer's that is wrong" in told.said[0]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """A machine with chrony; `date --set` and `systemctl restart` are written down."""
    found = Programs(tmp_path)
    found.make(
        "systemctl",
        f'case "$*" in "is-active --quiet chrony") ;; is-active*) exit 3 ;; '
        f'*) echo "$@" >> {tmp_path}/done ;; esac',
    )
    found.make("date", f'echo "$@" >> {tmp_path}/done')
    found.make("hwclock", "exit 1")
    found.make("sleep", "true")
    return found


def test_a_time_server_that_answers_sets_it(programs: Programs, tmp_path: Path) -> None:
    programs.make("timedatectl", "echo yes")
    assert programs.run(clock.set_clock(1800000000.4)).returncode == 0
    assert (tmp_path / "done").read_text() == "restart chrony\n"


def test_where_none_answers_the_operators_clock_does(programs: Programs, tmp_path: Path) -> None:
    programs.make("timedatectl", "echo no")
    assert programs.run(clock.set_clock(1800000000.4)).returncode == 0
    restart, set_to = (tmp_path / "done").read_text().splitlines()
    assert restart == "restart chrony"
    # As much later as it took to ask.
    assert 1800000000 <= int(set_to.removeprefix("--set=@")) <= 1800000060
