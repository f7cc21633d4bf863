"""What a push's attempt means and when the next one comes. Pure.

Attempts that bring the copy forward don't count: a large file over a bad line arrives in the end.
After the others the pause doubles, with full jitter, so that nodes that come back aren't run over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agent.outbox.retry import Following, Schedule, given_up
from portside.backoff import Backoff
from portside.wire.problem import PROBLEM_PREFIX

SCHEDULE = Schedule(Backoff(first=2, longest=3600), most=40)
"""Attempts in a row without a byte's progress; together about a day."""

LEASE_ATTEMPTS = 3
"""Of these a lease waits for so many: the control plane may know a better target."""

_LONGEST_WAIT = 3600
"""Seconds: more than this no target can ask for."""

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


def after(attempt: Attempt, attempts: int, progressed: bool, now: int, chance: float) -> Following:
    """What follows a failed attempt; `attempts` were made in vain before it.

    `progressed`: it found more of the file on the target's disk than the ones before. `chance` is
    a random number from 0 to 1.
    """
    count = 1 if progressed else attempts + 1
    if attempt.result == "hopeless":
        return given_up(count, attempt.error, now)
    return SCHEDULE.following(count, attempt.error, now, chance, attempt.wait)


def refused(status: int, headers: Mapping[str, str], slug: str, detail: str) -> Attempt:
    """What a target's refusal means; `slug` and `detail` are empty where it said nothing usable."""
    words = f"answered {status}" + (f" ({slug}: {detail})" if slug else "")
    if slug == "digest-mismatch":
        return Attempt("damaged", words)
    if slug in _HOPELESS:
        return Attempt("hopeless", words)
    asked = headers.get("Retry-After", "")
    wait = min(int(asked), _LONGEST_WAIT) if asked.isascii() and asked.isdigit() else 0
    return Attempt("failed", words, wait=wait)


def slug_of(kind: object) -> str:
    """The short name in a problem's `type`; empty for what is none of ours."""
    text = str(kind)
    return text.removeprefix(PROBLEM_PREFIX) if text.startswith(PROBLEM_PREFIX) else ""
