"""How long files live: what is asked for, what a namespace gives and allows. Pure.

A lifetime counts from a file's commit on its first node. What it comes to is a moment that every
copy keeps (`expires_at`, Unix seconds): nobody works it out again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from portside.quantities import format_duration
from portside.wire.fields import LATEST, LONGEST, Namespace

GRACE = 7 * 86400
"""For which an ended file's bytes are kept where nobody says how long: a week to miss it in."""

Seconds = Annotated[int, Field(gt=0, le=LONGEST)]


class Lifetimes(BaseModel):
    """A cluster's rules, as agents and the control plane have them. Durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grace: int = Field(default=GRACE, ge=0, le=LONGEST)
    """For which an ended file's bytes are kept: its end can be taken back meanwhile."""
    default: Mapping[Namespace, Seconds] = {}
    """What files of a namespace get that nobody gives a lifetime."""
    longest: Mapping[Namespace, Seconds] = {}
    """The most that files of a namespace may have; they all end."""

    def of(self, namespace: str, asked: int | None) -> int | None:
        """The lifetime of a file of this namespace; None for one that doesn't end by itself."""
        seconds = self.default.get(namespace) if asked is None else asked
        longest = self.longest.get(namespace)
        if longest is None:
            return seconds
        return longest if seconds is None else min(seconds, longest)

    def why_refused(self, namespace: str, asked: int | None) -> str | None:
        """What to ask for instead, where more is asked for than the namespace allows."""
        longest = self.longest.get(namespace)
        if longest is None or asked is None or asked <= longest:
            return None
        return (
            f"files of {namespace!r} live {format_duration(longest)} at most: ask for "
            f"{longest} seconds or fewer"
        )


def end_of(committed_at: datetime, lifetime: int | None) -> int | None:
    """The moment at which a file ends, Unix seconds; None for one that doesn't."""
    return None if lifetime is None else min(int(committed_at.timestamp()) + lifetime, LATEST)


def has_ended(expires_at: int | None, now: float) -> bool:
    """Whether a file's moment has come, `now` in Unix seconds."""
    return expires_at is not None and expires_at <= now
