"""How a move between pools goes on: its states, its hours, its rate and each file's next step.

Decisions without a database. A file of a move is copied to the target, then the reference switches:
in one transaction the target's copy is present and the source's is on its way out. Only then, and
only with enough other good copies, the source is told to delete its copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time
from typing import Literal, get_args

from control.db.models import MoveState
from control.replication.policy import CopyOnNode, Standing
from portside.quantities import MIB

Command = Literal["pause", "resume", "cancel"]

COMMANDS: tuple[Command, ...] = get_args(Command)

_COMMANDS: dict[Command, dict[MoveState, MoveState]] = {
    "pause": {"planned": "paused", "running": "paused", "paused": "paused"},
    "resume": {"paused": "running", "running": "running"},
    "cancel": {
        "planned": "cancelled",
        "running": "cancelled",
        "paused": "cancelled",
        "cancelled": "cancelled",
    },
}

PARALLEL = 4
"""Files of one move that are copied at the same time."""

_SLOWEST_PUSH = MIB
"""Bytes per second below which a move's rate isn't split over several pushes."""


def after(state: MoveState, command: Command) -> MoveState | None:
    """The state that a command leads to; None when it can't be given in this state."""
    return _COMMANDS[command].get(state)


@dataclass(frozen=True, slots=True)
class Hours:
    """A part of the day in UTC. `begin` belongs to it, `end` doesn't; it may contain midnight."""

    begin: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Hours:
        """`22:00-06:00`. Raises ValueError that says what is right."""
        found = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", text)
        if found is None:
            raise ValueError(f"{text!r} are no hours of the day: write for example 22:00-06:00")
        hours = [int(each) for each in found.groups()]
        begin, end = time(hours[0], hours[1]), time(hours[2], hours[3])
        if begin == end:
            raise ValueError(f"{text!r} is empty: leave the hours out to work around the clock")
        return cls(begin, end)

    def contain(self, moment: datetime) -> bool:
        """Whether a moment (UTC) is within."""
        at = moment.time()
        if self.begin < self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end


def pushes(bytes_per_second: int | None) -> tuple[int, int | None]:
    """How many files a move copies at once, and how fast each: together no faster than its rate."""
    if bytes_per_second is None:
        return PARALLEL, None
    count = max(1, min(PARALLEL, bytes_per_second // _SLOWEST_PUSH))
    return count, max(1, bytes_per_second // count)


@dataclass(frozen=True, slots=True)
class Step:
    """What to do with a file of a move now; `why` for people, where it isn't the usual course."""

    kind: Literal["copy", "switch", "spread", "wait", "done", "skip"]
    """`spread`: the target has one of the copies that the factor asks for, so that another node
    needs one before the source's can go."""
    why: str = ""


def next_step(
    copies: Sequence[CopyOnNode],
    standing: Standing,
    source: str,
    target: str,
    taken_by: str | None,
) -> Step:
    """The next step of moving one file from node `source` to node `target`.

    `taken_by` is another file that has the same path on the target. Safe to ask at any time and as
    often as one likes: it depends on what is true now, not on what was done before.
    """
    state_of = {each.node_id: each.state for each in copies}
    here, there = state_of.get(source), state_of.get(target)
    if here != "present":
        if there == "present":
            # Gone or going: the reference has switched.
            return Step("done")
        return Step("skip", f"missing: {source!r} has no copy of it any more")
    if there == "present":
        if standing.may_go(source):
            return Step("switch")
        if standing.wanted_without(source):
            return Step("spread", "another node is to have a copy before the source's can go")
        return Step("wait", "too few other good copies: the source's stays until there are more")
    if taken_by is not None:
        return Step("skip", f"path-taken: {target!r} has file {taken_by} on the same path")
    if there in ("copying", "deleting"):
        return Step("wait", f"{target!r} is {there} it")
    if not standing.good:
        return Step("wait", "no node that has it can be reached")
    return Step("copy")
