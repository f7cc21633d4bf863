"""Who serves, who comes next, who finishes: the decisions, without any process. Pure.

Never is nobody serving because something is to change: the old one goes on until the new one can
serve, and if that fails, for good. Never are there more at once than the memory allows: what is
asked beyond that waits until an old one has ended. Those that drain are then asked to hand back
what their clients can go on with elsewhere.

Who goes back from one that serves, but not well, doesn't wait for that: it may be one more than the
others may be, for as long as that one, which has just begun, takes to end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Start:
    """Start a generation."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Have a generation take nothing new, and end when it is done."""

    process: int


@dataclass(frozen=True, slots=True)
class HandBack:
    """Have a generation that drains give back what can go on elsewhere."""

    process: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a generation that never came to serve."""

    process: int


@dataclass(frozen=True, slots=True)
class Leave:
    """End with this code; whoever still drains goes on."""

    code: int


Action = Start | Drain | HandBack | Kill | Leave


class Succession:
    """The generations of one service. Each event returns what is to be done, in order.

    What is asked for is numbered: `asked` is the latest, `served` the one that serving answers,
    `failed` the one that last failed.
    """

    def __init__(
        self,
        most: int,
        serving: int | None = None,
        draining: Iterable[int] = (),
        asked: int = 1,
        beyond: bool = False,
    ) -> None:
        """`most`: generations at once. `serving` and `draining` were there before. See reload."""
        self.most = most
        self.serving = serving
        self.draining = set(draining)
        self.starting: int | None = None
        self.asked = asked
        self.served = 0
        self.failed = 0
        self._begun = 0
        self._beyond = beyond
        self._handed: set[int] = set()
        self._stopping = False

    @property
    def alive(self) -> set[int]:
        """Every generation."""
        return self.draining | {each for each in (self.serving, self.starting) if each is not None}

    @property
    def waits(self) -> bool:
        """Whether what was asked waits until there is memory for it."""
        is_over = self._stopping or self.starting is not None
        return not is_over and self._begun < self.asked

    def begin(self) -> list[Action]:
        """The first thing to do. Who was found draining may never have been told."""
        return [*(Drain(each) for each in sorted(self.draining)), *self._next()]

    def reload(self, beyond: bool = False) -> list[Action]:
        """A new generation is asked for; `beyond`: it may be one more than `most`."""
        self.asked += 1
        self._beyond |= beyond
        return self._next()

    def started(self, process: int) -> None:
        """What Start asked for has this number."""
        self.starting = process

    def ready(self, process: int) -> list[Action]:
        """The one that was started can serve."""
        if process != self.starting:
            return []
        before, self.serving, self.starting = self.serving, process, None
        self.served = self._begun
        if before is None:
            return self._next()
        self.draining.add(before)
        return [Drain(before), *self._next()]

    def overdue(self) -> list[Action]:
        """The one that was started takes too long."""
        return [] if self.starting is None else [Kill(self.starting)]

    def stop(self) -> list[Action]:
        """All are to end, each when it is done."""
        self._stopping = True
        everyone = sorted(self.alive)
        return [Drain(each) for each in everyone] if everyone else [Leave(0)]

    def ended(self, process: int) -> list[Action]:
        """A generation is gone."""
        if process == self.starting:
            self.starting = None
            self.failed = self._begun
        if process == self.serving:
            self.serving = None
        self.draining.discard(process)
        self._handed.discard(process)
        if self._stopping:
            return [] if self.alive else [Leave(0)]
        if self.serving is None and self.starting is None:
            # Nobody knows why: systemd starts it anew, at the pace that its unit says.
            return [Leave(1)]
        return self._next()

    def _next(self) -> list[Action]:
        if not self.waits:
            return []
        handed: list[Action] = []
        if self.serving is not None and len(self.alive) >= self.most:
            fresh = sorted(self.draining - self._handed)
            self._handed |= set(fresh)
            handed = [HandBack(each) for each in fresh]
            if not self._beyond or len(self.alive) > self.most:
                return handed
        self._begun, self._beyond = self.asked, False
        return [*handed, Start()]
