"""What a node is now, worked out from what is wanted of it and when it was last heard.

Pure. `down` is nobody's wish: it comes with silence and goes with a heartbeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from control.db.models import WantedState
from portside.backoff import Backoff
from portside.quantities import format_duration
from portside.tokens import LEEWAY
from portside.wire.heartbeat import NodeState

FIRST_AVOIDANCE = 15.0
"""Seconds for which a node that failed is left out; each further failure in a row doubles it."""

LONGEST_AVOIDANCE = 1800.0


@dataclass(frozen=True, slots=True)
class Signs:
    """What speaks for a node and against it."""

    wanted: WantedState
    in_roster: bool
    known_since: datetime
    heard_at: datetime | None
    down_since: datetime | None
    accepting: bool
    outside_problem: str | None
    failures: int
    avoid_until: datetime | None
    clock_skew: float | None = None
    """Seconds by which its clock was ahead of ours at its last heartbeat."""


def state_of(
    signs: Signs, now: datetime, dead_after: float, listening_since: datetime | None
) -> NodeState:
    """The node's state. Silence before `listening_since` doesn't count: nobody listened."""
    if signs.wanted == "retired" or not signs.in_roster:
        return "retired"
    if signs.down_since is not None or silence(signs, now, listening_since) > dead_after:
        return "down"
    return signs.wanted


def silence(signs: Signs, now: datetime, listening_since: datetime | None) -> float:
    """Seconds for which the node could have been heard and wasn't."""
    last = signs.heard_at or signs.known_since
    if listening_since is not None:
        last = max(last, listening_since)
    return (now - last).total_seconds()


def reasons(signs: Signs, state: NodeState, now: datetime) -> tuple[str, ...]:
    """Why nothing new is placed on the node, in words for people; empty: it is healthy."""
    found = []
    if signs.heard_at is None:
        found.append("never-heard: no heartbeat has come in yet")
    elif state == "down":
        found.append(f"down: last heard at {signs.heard_at:%Y-%m-%dT%H:%M:%SZ}")
    elif not signs.accepting:
        found.append("not-accepting: the node itself takes no uploads now")
    if signs.clock_skew is not None and is_off(signs.clock_skew):
        found.append(
            f"clock: its clock is {format_duration(abs(signs.clock_skew))} "
            f"{'ahead of' if signs.clock_skew > 0 else 'behind'} the control plane's, {LEEWAY} s "
            "are forgiven: see whether a time service runs on both (`timedatectl`)"
        )
    if state in ("readonly", "draining", "retired"):
        found.append(f"{state}: as an operator wants it")
    if signs.outside_problem is not None:
        found.append(f"unreachable: {signs.outside_problem}")
    if signs.avoid_until is not None and signs.avoid_until > now:
        found.append(
            f"failed: {signs.failures} times in a row, left out until "
            f"{signs.avoid_until:%Y-%m-%dT%H:%M:%SZ}"
        )
    return tuple(found)


def is_off(skew: float | None) -> bool:
    """Whether clocks differ by too much for one machine to take the other's tokens."""
    return skew is not None and abs(skew) > LEEWAY


def avoid_until(failures: int, now: datetime) -> datetime:
    """Until when a node is left out that has just failed for the `failures`th time in a row."""
    return now + timedelta(seconds=Backoff(FIRST_AVOIDANCE, LONGEST_AVOIDANCE).most(failures))
