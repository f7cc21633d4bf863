"""What a push's attempt means and when the next one comes. Pure.

Attempts that bring the copy forward don't count: a large file over a bad line arrives in the end.
After the others the pause doubles, with full jitter, so that nodes that come back aren't run over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from portside.wire.claims import PROBLEM_PREFIX

MOST_ATTEMPTS = 40
"""Attempts in a row without a byte's progress; together about a day."""

LEASE_ATTEMPTS = 3
"""Of these a lease waits for so many: the control plane may know a better target."""

FIRST_PAUSE = 2
LONGEST_PAUSE = 3600
"""Seconds within which a failed push is tried again: the first time, and at most."""

LONGEST_ERROR = 500
"""Characters of an error that are kept."""

_HOPELESS = frozenset({"file-deleted", "file-differs", "name-taken", "token-used", "path-refused"})
"""Problems that the same file will meet again, however often it is sent."""

Result = Literal["done", "failed", "hopeless", "damaged", "unwanted", "stopped"]
"""`damaged`: what was sent is not what the digest says. `unwanted`: the file is deleted here.
`stopped`: the worker ends; nothing is to be noted down."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt ended; `sent` are the bytes it brought on their way."""

    result: Result
    error: str = ""
    receipt: str = ""
    sent: int = 0
    wait: int = 0
    """Seconds that the target asked for."""


@dataclass(frozen=True, slots=True)
class Next:
    """What follows a failed attempt: another at `due`, Unix seconds, or none."""

    state: Literal["WAITING", "DEAD"]
    attempts: int
    due: int
    error: str


def after(attempt: Attempt, attempts: int, progressed: bool, now: int, chance: float) -> Next:
    """What follows a failed attempt; `attempts` were made in vain before it.

    `progressed`: it found more of the file on the target's disk than the ones before. `chance` is
    a random number from 0 to 1.
    """
    error = attempt.error[:LONGEST_ERROR]
    count = 1 if progressed else attempts + 1
    if attempt.result == "hopeless" or count >= MOST_ATTEMPTS:
        return Next("DEAD", count, now, error)
    return Next("WAITING", count, now + max(pause(count, chance), attempt.wait), error)


def pause(attempt: int, chance: float) -> int:
    """Seconds until the next attempt: exponential, with full jitter, at least one."""
    # The exponent is bounded so that no number grows without need.
    most = min(LONGEST_PAUSE, FIRST_PAUSE << min(attempt - 1, 32))
    return max(1, round(chance * most))


def refused(status: int, headers: Mapping[str, str], slug: str, detail: str) -> Attempt:
    """What a target's refusal means; `slug` and `detail` are empty where it said nothing usable."""
    words = f"answered {status}" + (f" ({slug}: {detail})" if slug else "")
    if slug == "digest-mismatch":
        return Attempt("damaged", words)
    if slug in _HOPELESS:
        return Attempt("hopeless", words)
    asked = headers.get("Retry-After", "")
    wait = min(int(asked), LONGEST_PAUSE) if asked.isascii() and asked.isdigit() else 0
    return Attempt("failed", words, wait=wait)


def slug_of(kind: object) -> str:
    """The short name in a problem's `type`; empty for what is none of ours."""
    text = str(kind)
    return text.removeprefix(PROBLEM_PREFIX) if text.startswith(PROBLEM_PREFIX) else ""
