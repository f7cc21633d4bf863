"""Whether this machine's clock can be believed: it is watched by one that nobody can set.

What ends by the clock is lost when the clock is wrong: an upload past its deadline, the memory of a
deleted file. So whoever ends such things asks here first. A clock that was just set, or a machine
that has just started and may still be asking for the time, is given some minutes; nothing is lost
by ending a thing a little later.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from portside.tokens import LEEWAY

SETTLED = 300.0
"""Seconds that a clock must have run evenly. Time services step it within the first minute."""


def uptime() -> float:
    """Seconds since the machine's start, those asleep too (`CLOCK_BOOTTIME`, clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Notices when the clock was set. `look` is called now and then, by one thread."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = uptime,
        last: tuple[float, float] | None = None,
        set_at: float = 0.0,
    ) -> None:
        """`clock` is Unix seconds, `steady` seconds since the machine's start.

        `last` is what both said when an earlier process last looked, `set_at` its own.
        """
        self._clock = clock
        self._steady = steady
        now, up = clock(), steady()
        self._offset = now - up
        # One that is ahead of the uptime is from before the machine's start.
        self._set_at = set_at if set_at <= up else 0.0
        if last is not None:
            self._offset = _offset_before(now, up, *last)
        if abs(now - up - self._offset) > LEEWAY:
            # While nobody looked; the first `look` tells.
            self._set_at = up

    def look(self) -> float:
        """Seconds by which the clock was set since the last look: ahead, or back (negative).

        What a time service corrects bit by bit is none: 0.
        """
        offset = self._clock() - self._steady()
        step, self._offset = offset - self._offset, offset
        if abs(step) <= LEEWAY:
            return 0.0
        self._set_at = self._steady()
        return step

    @property
    def set_at(self) -> float:
        """When the clock was last found to be set, in seconds since the machine's start."""
        return self._set_at

    @property
    def is_settled(self) -> bool:
        """Whether it has run evenly for long enough, as of the last look."""
        return self._steady() - self._set_at >= SETTLED


def _offset_before(now: float, up: float, last_now: float, last_up: float) -> float:
    """What clock and uptime differed by when they were last looked at, as far as can be known."""
    if last_up <= up:
        return last_now - last_up
    # The machine was started anew since: time may have passed, but not backwards.
    return max(now, last_now) - up
