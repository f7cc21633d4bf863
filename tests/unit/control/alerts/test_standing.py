"""An alert is told once, again after a day, and at its end; whatever comes and goes in between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from control.alerts.judgement import Finding
from control.alerts.standing import QUIET, Key, Standing, settle
from portside.alerting.catalogue import Bounds
from portside.alerting.message import ToldAlert

CATALOGUE = Bounds(dead_after=90, repair_after=900, scrub_every=86400).catalogue
BEGIN = datetime(2026, 6, 1, tzinfo=UTC)
REPEAT = timedelta(days=1)
STEP = timedelta(seconds=30)
HELD = "node-read-only"
"""Told once it has held for two minutes."""


class Watch:
    """One alert of one node, looked at every 30 seconds."""

    def __init__(self, name: str = HELD) -> None:
        self.name = name
        self.now = BEGIN
        self.standing: dict[Key, Standing] = {}
        self.told: list[tuple[datetime, ToldAlert]] = []

    def look(self, holds: bool | None, times: int = 1, *, gone: bool = False) -> list[str]:
        """What was told meanwhile."""
        before = len(self.told)
        for _ in range(times):
            findings = [] if gone else [Finding(self.name, "s01", holds, "because")]
            outcome = settle(self.standing, findings, CATALOGUE, self.now, REPEAT)
            self.standing = dict(outcome.standing)
            self.told += [(self.now, each) for each in outcome.told]
            self.now += STEP
        return [each.state for _, each in self.told[before:]]


def test_what_passes_by_itself_is_not_told() -> None:
    watch = Watch()
    assert watch.look(True, 4) == []
    assert watch.look(False) == []
    assert watch.standing == {}


def test_what_lasts_is_told_once_again_after_a_day_and_at_its_end() -> None:
    watch = Watch()
    assert watch.look(True, 5) == ["began"]
    assert watch.look(True, 24 * 120 - 1) == []
    assert watch.look(True, 2) == ["lasts"]
    assert watch.look(False, 10) == []
    assert watch.look(False) == ["ended"]
    assert watch.standing == {}
    _, last = watch.told[-1]
    assert last.node_id == "s01"
    assert last.began_at == BEGIN
    assert last.ended_at is not None
    assert last.runbook == f"docs/runbook.md#{HELD}"


def test_one_that_comes_and_goes_within_minutes_is_told_once() -> None:
    watch = Watch()
    watch.look(True, 5)
    for _ in range(20):
        assert watch.look(False, 8) == []
        assert watch.look(True, 3) == []


def test_what_nobody_can_say_changes_nothing() -> None:
    watch = Watch()
    watch.look(True, 5)
    stood = watch.standing
    assert watch.look(None, 1000) == []
    assert watch.standing == stood
    assert watch.look(True) == []
    assert Watch().look(None, 100) == []


def test_a_node_that_left_has_no_alerts_any_more() -> None:
    watch = Watch()
    watch.look(True, 5)
    assert watch.look(None, 11, gone=True) == ["ended"]


def test_one_that_is_told_at_once_waits_for_nothing() -> None:
    assert Watch("heartbeat-missing").look(True) == ["began"]


def test_what_another_release_knew_is_let_go() -> None:
    old: dict[Key, Standing] = {("of-the-future", ""): Standing(BEGIN, "", BEGIN)}
    outcome = settle(old, (), CATALOGUE, BEGIN, REPEAT)
    assert (outcome.standing, outcome.told) == ({}, ())


def test_a_clock_that_is_set_back_keeps_nobody_waiting() -> None:
    watch = Watch()
    watch.look(True, 2)
    watch.now -= timedelta(days=400)
    assert watch.look(True, 5) == ["began"]
    watch.now -= timedelta(days=400)
    watch.look(True)
    watch.now += REPEAT
    assert watch.look(True) == ["lasts"]
    watch.look(False)
    watch.now -= timedelta(days=400)
    assert watch.look(False, 12) == ["ended"]


@given(st.lists(st.sampled_from([True, False, None]), max_size=200))
def test_begin_and_end_are_told_in_turns(looks: list[bool | None]) -> None:
    """Whatever is seen: never twice the same without the other between them, within a day."""
    watch = Watch()
    for holds in looks:
        watch.look(holds)
    states = [each.state for _, each in watch.told]
    assert states == ["began", "ended"] * (len(states) // 2) + ["began"] * (len(states) % 2)
    # Ends are told after a quiet time only.
    for at, each in watch.told:
        if each.ended_at is not None:
            assert at - each.began_at >= QUIET
