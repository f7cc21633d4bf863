"""What was said of stored files after their upload: ended, brought back, held, released, deleted.

Pure: what a node answered and what lies on its disk, compared with what it had acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Served = Literal["served", "held", "expired", "deleted", "unknown"]
"""How a node answers who asks for a file's bytes."""


@dataclass
class Fate:
    """What was acknowledged last of one file. None: the request was cut, either may be so."""

    held: bool | None
    ends_at: float | None = None
    """Unix seconds."""
    end_is_known: bool = True
    may_end_at: float = 0.0
    """Where nobody can say: the latest moment at which it may end by itself."""
    deleted: bool | None = False

    def ended(self, now: float, leeway: float = 1.0) -> bool | None:
        """Whether its time is over; None where nobody can say."""
        if not self.end_is_known:
            return None
        if self.ends_at is None or self.ends_at > now + leeway:
            return False
        return True if self.ends_at <= now else None

    def learn(self, answer: Served, now: float) -> None:
        """Take over what a cut request has come to: from here on it has to stay so."""
        if self.deleted is None:
            self.deleted = answer == "deleted"
        if not self.end_is_known and answer == "expired":
            self.ends_at, self.end_is_known = 0.0, True
        if not self.end_is_known and answer in ("served", "held") and self.may_end_at < now - 1:
            self.ends_at, self.end_is_known = None, True
        if self.held is None and answer in ("served", "held"):
            self.held = answer == "held"


@dataclass(frozen=True)
class Seen:
    """What is there of one file now."""

    answer: Served
    readable: bool
    """Whether there is data in its place that nginx can read."""
    kept: bool
    """Whether its bytes are somewhere, whole."""


def broken(fate: Fate, seen: Seen, now: float) -> tuple[str, str] | None:
    """The promise that is broken, and how; None where all that was acknowledged is so."""
    ended = fate.ended(now)
    if fate.deleted:
        # A deletion that was acknowledged is durable.
        if seen.answer != "deleted" or seen.readable:
            return "returned", f"deleted, now {seen}"
        return None
    if fate.deleted is False and not seen.kept:
        return "lost", f"not deleted, now {seen}"
    if ended and seen.answer in ("served", "held"):
        return "returned", f"ended, now {seen}"
    if fate.held and (seen.answer == "served" or seen.readable):
        return "exposed", f"held, now {seen}"
    if (fate.deleted, ended, fate.held) == (False, False, False) and seen.answer != "served":
        return "withheld", f"neither ended nor held, now {seen}"
    if (fate.deleted, ended) == (False, False) and seen.answer not in ("served", "held"):
        return "withheld", f"not ended, now {seen}"
    return None
