"""This node's clock: whether it can be believed, and what is known against it.

Tokens are judged by it, and what is past its deadline ends by it. The control plane tells its own
time with each answer; which of the two is wrong can't be known here, so nothing is refused for it.
But while they differ nothing ends for good, and a token that seems to have expired, or not to be
valid yet, is answered with "later" in place of "no": clients give up an upload for good at a "no".
"""

from __future__ import annotations

import threading
import time

from agent.problems import ProblemError
from agent.settings import Settings
from agent.telemetry import worker_report
from portside.clock import ClockWatch
from portside.quantities import format_duration
from portside.tokens import LEEWAY, Refusal, TokenRefused

FIRST_WORD = 60.0
"""Seconds from the worker's start that the control plane has for its first answer."""

_BY_THE_CLOCK: tuple[Refusal, ...] = ("token-expired", "token-not-yet-valid")


class NodeClock:
    """What the worker knows of the clock. Thread-safe."""

    def __init__(self, watch: ClockWatch, *, awaits_word: bool = False) -> None:
        """`awaits_word`: there is a control plane, which will tell its time."""
        self._watch = watch
        self._word_until = time.monotonic() + FIRST_WORD if awaits_word else 0.0
        self._lock = threading.Lock()
        self._skew: float | None = None

    def heard(self, skew: float) -> None:
        """The control plane has answered: by how many seconds this clock is ahead of its."""
        with self._lock:
            self._skew = skew

    def look(self) -> float:
        """Seconds by which the clock was set since the last look: see `ClockWatch`."""
        with self._lock:
            return self._watch.look()

    @property
    def skew(self) -> float | None:
        """Seconds by which it is ahead of the control plane's; None while nothing was heard."""
        with self._lock:
            return self._skew

    @property
    def set_at(self) -> float:
        """When it was last set: for the worker that comes after this one."""
        with self._lock:
            return self._watch.set_at

    @property
    def is_believed(self) -> bool:
        """Whether something may end by it that nobody can bring back."""
        with self._lock:
            if self._skew is None and time.monotonic() < self._word_until:
                return False
            return self._watch.is_settled and not _is_off(self._skew)


def warning(skew: float | None) -> str | None:
    """What to look at when the two clocks differ, as `code: words`."""
    if skew is None or not _is_off(skew):
        return None
    side = "ahead of" if skew > 0 else "behind"
    return (
        f"clock: this clock is {format_duration(abs(skew))} {side} the control plane's, {LEEWAY} s "
        "are forgiven: see whether a time service runs on both (`timedatectl`)"
    )


def refused(settings: Settings, refusal: TokenRefused) -> ProblemError:
    """A token's refusal as its sender hears it. Raises OSError when the report can't be read."""
    if refusal.code in _BY_THE_CLOCK:
        must_be_believed(settings)
    return ProblemError.from_token(refusal)


def must_be_believed(settings: Settings) -> None:
    """Raise ProblemError `clock-off` when the worker knows that this clock may be wrong."""
    report = worker_report.read(settings.worker_report)
    if report is not None and report.age() <= worker_report.SILENCE:
        told = warning(report.heartbeats.clock_skew)
        if told is not None:
            raise ProblemError("clock-off", f"{told.partition(': ')[2]}; try again later")


def _is_off(skew: float | None) -> bool:
    return skew is not None and abs(skew) > LEEWAY
