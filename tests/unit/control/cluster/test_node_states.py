"""What a node is: worked out from wishes and silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from control.cluster.node_states import (
    FIRST_AVOIDANCE,
    LONGEST_AVOIDANCE,
    Signs,
    avoid_until,
    reasons,
    state_of,
)
from portside.wire.heartbeat import NodeState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=1)

GOOD = Signs(
    wanted="active",
    in_roster=True,
    known_since=LONG_AGO,
    heard_at=NOW - timedelta(seconds=10),
    down_since=None,
    accepting=True,
    outside_problem=None,
    failures=0,
    avoid_until=None,
)


def state(signs: Signs, listening_since: datetime | None = LONG_AGO) -> NodeState:
    return state_of(signs, NOW, 60, listening_since)


def test_a_node_that_reports_is_what_is_wanted_of_it_and_healthy_if_active() -> None:
    assert state(GOOD) == "active"
    assert reasons(GOOD, "active", NOW) == ()
    for wanted in ("readonly", "draining"):
        signs = replace(GOOD, wanted=wanted)
        assert state(signs) == wanted
        assert reasons(signs, state(signs), NOW)[0].startswith(wanted)


def test_a_silent_node_is_down_whatever_is_wanted_but_retired() -> None:
    silent = replace(GOOD, heard_at=NOW - timedelta(seconds=61))
    assert state(silent) == "down"
    assert state(replace(silent, wanted="draining")) == "down"
    assert state(replace(silent, wanted="retired")) == "retired"
    assert state(replace(GOOD, in_roster=False)) == "retired"
    assert state(replace(GOOD, down_since=NOW)) == "down"


def test_silence_counts_only_while_somebody_listened() -> None:
    silent = replace(GOOD, heard_at=LONG_AGO)
    assert state(silent, NOW - timedelta(seconds=59)) == "active"
    assert state(silent, NOW - timedelta(seconds=61)) == "down"


def test_a_new_node_has_time_to_report_and_gets_nothing_until_then() -> None:
    new = replace(GOOD, heard_at=None, known_since=NOW - timedelta(seconds=5))
    assert state(new) == "active"
    assert reasons(new, "active", NOW) == ("never-heard: no heartbeat has come in yet",)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"accepting": False}, "not-accepting"),
        ({"outside_problem": "https://s01: refused"}, "unreachable: https://s01: refused"),
        ({"failures": 3, "avoid_until": NOW + timedelta(seconds=5)}, "failed: 3 times"),
    ],
)
def test_every_reason_against_a_node_is_told(changed: dict[str, object], reason: str) -> None:
    signs = replace(GOOD, **changed)  # type: ignore[arg-type]
    assert reasons(signs, "active", NOW)[0].startswith(reason)


def test_avoidance_doubles_and_ends() -> None:
    waits = [(avoid_until(count, NOW) - NOW).total_seconds() for count in (1, 2, 3, 50)]
    assert waits == [FIRST_AVOIDANCE, 2 * FIRST_AVOIDANCE, 4 * FIRST_AVOIDANCE, LONGEST_AVOIDANCE]
    past = replace(GOOD, failures=2, avoid_until=NOW - timedelta(seconds=1))
    assert reasons(past, "active", NOW) == ()
