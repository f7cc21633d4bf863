"""What was said of a stored file, and what a check makes of what is there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faults.checking.fates import Fate, Seen, Served, broken

NOW = 1000.0
SOUND = Seen("served", readable=True, kept=True)
HELD = Seen("held", readable=False, kept=True)
EXPIRED = Seen("expired", readable=False, kept=True)
DELETED = Seen("deleted", readable=False, kept=False)
IN_PLACE = Seen("expired", readable=True, kept=True)


@pytest.mark.parametrize(
    ("fate", "seen", "promise"),
    [
        (Fate(held=False), SOUND, None),
        (Fate(held=False), HELD, "withheld"),
        (Fate(held=False), EXPIRED, "withheld"),
        (Fate(held=False), DELETED, "lost"),
        (Fate(held=True), HELD, None),
        (Fate(held=True), SOUND, "exposed"),
        # The agent refuses, and nginx doesn't ask it.
        (Fate(held=True), replace(HELD, readable=True), "exposed"),
        (Fate(held=True), EXPIRED, "withheld"),
        (Fate(held=None), SOUND, None),
        (Fate(held=None), HELD, None),
        (Fate(held=False, ends_at=NOW - 1), EXPIRED, None),
        # It is moved within seconds.
        (Fate(held=False, ends_at=NOW - 1), IN_PLACE, None),
        (Fate(held=False, ends_at=NOW - 1), SOUND, "returned"),
        (Fate(held=False, ends_at=NOW - 1), replace(EXPIRED, kept=False), "lost"),
        (Fate(held=False, ends_at=NOW + 60), SOUND, None),
        (Fate(held=False, ends_at=NOW + 60), EXPIRED, "withheld"),
        (Fate(held=False, ends_at=NOW + 0.5), EXPIRED, None),
        (Fate(held=False, end_is_known=False), EXPIRED, None),
        (Fate(held=True, ends_at=NOW - 1), EXPIRED, None),
        (Fate(held=True, end_is_known=False), SOUND, "exposed"),
        (Fate(held=False, deleted=True), DELETED, None),
        (Fate(held=False, deleted=True), SOUND, "returned"),
        (Fate(held=False, deleted=True), replace(DELETED, readable=True), "returned"),
        (Fate(held=False, deleted=None), DELETED, None),
    ],
)
def test_a_broken_promise_is_seen_and_nothing_else(
    fate: Fate, seen: Seen, promise: str | None
) -> None:
    found = broken(fate, seen, NOW)
    assert (None if found is None else found[0]) == promise


@pytest.mark.parametrize(
    ("fate", "answer", "learned"),
    [
        (Fate(held=None), "held", Fate(held=True)),
        (Fate(held=None), "served", Fate(held=False)),
        (Fate(held=None), "expired", Fate(held=None)),
        (Fate(held=False, deleted=None), "deleted", Fate(held=False, deleted=True)),
        (Fate(held=False, deleted=None), "served", Fate(held=False)),
        (Fate(held=False, end_is_known=False), "expired", Fate(held=False, ends_at=0.0)),
        (Fate(held=False, end_is_known=False), "served", Fate(held=False)),
        # It was given two seconds, perhaps.
        (
            Fate(held=False, end_is_known=False, may_end_at=NOW + 1),
            "served",
            Fate(held=False, end_is_known=False, may_end_at=NOW + 1),
        ),
    ],
)
def test_what_a_crash_cut_is_asked_for_once(fate: Fate, answer: Served, learned: Fate) -> None:
    fate.learn(answer, NOW)
    assert fate == learned
