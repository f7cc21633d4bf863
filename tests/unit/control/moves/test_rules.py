"""How a move goes on: states, hours, rate, a file's next step."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.db.models import OPEN_MOVE_STATES
from control.moves.rules import (
    Hours,
    Step,
    after,
    next_step,
    pushes,
)
from control.replication.policy import CopyOnNode, Keeper, Standing
from portside.wire.heartbeat import NodeState

NODES = {each: Keeper(each, "active") for each in ("s", "t", "r", "q")}


def step(
    *copies: CopyOnNode, factor: int = 2, taken_by: str | None = None, down: str | None = None
) -> Step:
    nodes = dict(NODES)
    if down is not None:
        state: NodeState = "down"
        nodes[down] = Keeper(down, state)
    return next_step(copies, Standing(copies, nodes, factor), "s", "t", taken_by)


def test_a_file_is_copied_then_switched_then_done() -> None:
    s, r, t = (CopyOnNode(each, "present") for each in ("s", "r", "t"))
    assert step(s, r) == Step("copy")
    assert step(s, r, CopyOnNode("t", "copying")).kind == "wait"
    assert step(s, r, t) == Step("switch")
    assert step(CopyOnNode("s", "deleting"), r, t) == Step("done")
    assert step(r, t) == Step("done")


def test_a_target_that_has_the_file_already_gets_no_second_copy() -> None:
    assert step(*(CopyOnNode(each, "present") for each in ("s", "r", "t"))) == Step("switch")


def test_the_source_keeps_its_copy_while_too_few_others_are_good() -> None:
    s, r, t = (CopyOnNode(each, "present") for each in ("s", "r", "t"))
    assert step(s, t).kind == "spread"
    assert step(s, t, CopyOnNode("q", "copying")).kind == "wait"
    assert step(s, r, t, down="r").kind == "wait"
    assert step(s, t, factor=1) == Step("switch")


def test_a_missing_source_is_skipped() -> None:
    r = CopyOnNode("r", "present")
    assert step(r).kind == "skip"
    assert step(CopyOnNode("s", "lost"), r).why.startswith("missing")


def test_another_file_on_the_targets_path_is_left_alone() -> None:
    s, r = CopyOnNode("s", "present"), CopyOnNode("r", "present")
    found = step(s, r, taken_by="f" * 32)
    assert found.kind == "skip"
    assert "f" * 32 in found.why


def test_a_removal_on_the_target_is_waited_for() -> None:
    assert step(CopyOnNode("s", "present"), CopyOnNode("t", "deleting")).kind == "wait"


def test_hours_may_contain_midnight() -> None:
    night = Hours.parse("22:00-06:00")
    assert night == Hours(time(22), time(6))
    inside = {hour: night.contain(datetime(2026, 1, 1, hour, tzinfo=UTC)) for hour in range(24)}
    assert [hour for hour, yes in inside.items() if yes] == [0, 1, 2, 3, 4, 5, 22, 23]


@given(st.times(), st.times(), st.datetimes())
def test_hours_and_the_rest_of_the_day_make_a_day(begin: time, end: time, moment: datetime) -> None:
    begin, end = (each.replace(second=0, microsecond=0) for each in (begin, end))
    if begin != end:
        one = Hours.parse(f"{begin:%H:%M}-{end:%H:%M}")
        other = Hours.parse(f"{end:%H:%M}-{begin:%H:%M}")
        assert one.contain(moment) != other.contain(moment)


@pytest.mark.parametrize("text", ["", "22-06", "24:00-06:00", "22:00-22:00", "22:60-06:00", "x"])
def test_other_hours_are_refused_with_what_is_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"22:00-06:00|leave the hours out"):
        Hours.parse(text)


@given(st.integers(1, 10**12))
def test_the_pushes_together_stay_within_the_rate(bytes_per_second: int) -> None:
    count, each = pushes(bytes_per_second)
    assert each is not None
    assert count >= 1
    assert each >= 1
    assert count * each <= bytes_per_second


def test_commands_lead_where_they_say() -> None:
    assert after("running", "pause") == "paused"
    assert after("paused", "resume") == "running"
    assert all(after(state, "cancel") == "cancelled" for state in OPEN_MOVE_STATES)
    assert after("done", "cancel") is None
    assert after("done", "resume") is None
    assert after("cancelled", "resume") is None
