"""`portside moves`: what is asked for, what is shown, and how a watched move ends."""

from __future__ import annotations

import json

import pytest

from portside.commands.storage import moves
from portside.wire.moves import MovePlan, MoveReport
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble, move_view, refuse

PLAN = MovePlan(
    files=12,
    bytes=3 * 1024**3,
    already_there=2,
    conflicts=1,
    target_free=10 * 1024**3,
    fits=True,
    reachable=True,
    obstacles=(),
)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "POLL_SECONDS", 0.001)


def test_plan_tells_what_would_move_and_moves_nothing(logged_in: ControlDouble) -> None:
    logged_in.plan = PLAN
    run = Run("moves", "plan", "s01", "s02", "--older-than", "30d", "--min-size", "1MiB")
    assert run.code == 0
    for line in ("to move: 12 files, 3.0 GiB", "already at the target: 2", "there: 1", "10.0 GiB"):
        assert line in run.out
    wish = json.loads(logged_in.requests[0][3])
    assert (wish["dry_run"], wish["older_than"], wish["min_size"]) == (True, 2592000, 1024**2)


def test_a_plan_with_obstacles_is_exit_code_3(logged_in: ControlDouble) -> None:
    logged_in.plan = PLAN.model_copy(update={"obstacles": ("node s02 is down",)})
    run = Run("moves", "plan", "s01", "s02")
    assert run.code == 3
    assert "obstacle: node s02 is down" in run.out


def test_start_passes_rate_and_hours_on_and_prints_the_id(logged_in: ControlDouble) -> None:
    logged_in.moves = [move_view()]
    run = Run(
        *("moves", "start", "s01", "s02", "--rate", "50MiB", "--hours", "22:00-06:00"),
        *("--namespace", "isos", "--owner", "me"),
    )
    assert (run.code, run.out) == (0, "m1\n")
    wish = json.loads(logged_in.requests[0][3])
    assert wish == {
        "kind": "move",
        "source": "s01",
        "target": "s02",
        "namespace": "isos",
        "owner": "me",
        "bytes_per_second": 50 * 1024**2,
        "hours": "22:00-06:00",
        "band": 0.1,
        "dry_run": False,
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("s01",), "a move needs a 'source' and a 'target'"),
        (("s01", "s02", "--rebalance"), "leave them out"),
        (("S 1", "s02"), "source"),
        (("s01", "s02", "--rate", "0"), "bytes_per_second"),
        (("s01", "s02", "--rate", "fast"), "is no size"),
    ],
)
def test_a_wish_that_makes_no_sense_isnt_sent(
    logged_in: ControlDouble, arguments: tuple[str, ...], said: str
) -> None:
    run = Run("moves", "start", *arguments)
    assert run.code == 2
    assert said in run.err
    assert not logged_in.requests


def test_a_move_is_begun_once_however_the_answer_gets_lost(logged_in: ControlDouble) -> None:
    logged_in.moves = [move_view()]
    logged_in.faults = [refuse(500, "internal-error")]
    assert Run("moves", "start", "s01", "s02").code == 4
    assert len(logged_in.requests) == 1


def test_list_has_a_line_for_each_move(logged_in: ControlDouble) -> None:
    logged_in.moves = [
        move_view(done=3, skipped=1),
        move_view(move_id="m2", kind="rebalance", source=None, target=None, state="done"),
    ]
    lines = Run("moves", "list").out.splitlines()
    assert lines[1].split()[:9] == ["m1", "s01", "to", "s02", "running", "3", "0", "1", "10"]
    assert lines[2].split()[:3] == ["m2", "rebalance", "done"]


def test_show_names_the_files_that_didnt_move(logged_in: ControlDouble) -> None:
    report = MoveReport(file_id="0" * 32, outcome="failed", detail="no space\n")
    logged_in.moves = [move_view(done=3, failed=1, note="outside its hours", reports=(report,))]
    run = Run("moves", "show", "m1")
    assert run.code == 0
    assert "progress: 3 of 10 files, 1 failed" in run.out
    assert "note:     outside its hours" in run.out
    assert f"  {'0' * 32} failed: no space\\n" in run.out
    assert json.loads(Run("moves", "show", "m1", "--json").out)["progress"]["failed"] == 1


@pytest.mark.parametrize("wish", ["pause", "resume", "cancel"])
def test_a_command_goes_to_the_move(logged_in: ControlDouble, wish: str) -> None:
    logged_in.moves = [move_view(state="paused")]
    run = Run("moves", wish, "m1")
    assert run.code == 0
    assert logged_in.requests[0][:2] == ("POST", f"/api/v1/moves/m1/{wish}")
    assert "is paused" in run.err


def test_a_command_that_comes_too_late_is_told(logged_in: ControlDouble) -> None:
    logged_in.faults = [refuse(409, "move-state")]
    run = Run("moves", "pause", "m1")
    assert run.code == 3
    assert "409 move-state" in run.err


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ({"state": "done", "done": 10}, 0),
        ({"state": "done", "done": 9, "skipped": 1}, 0),
        ({"state": "done", "done": 9, "failed": 1}, 4),
        ({"state": "cancelled"}, 3),
    ],
)
def test_watching_ends_with_the_move(
    logged_in: ControlDouble, monkeypatch: pytest.MonkeyPatch, last: dict[str, object], code: int
) -> None:
    monkeypatch.setattr(moves, "LINE_SECONDS", 0.0)
    logged_in.moves = [move_view(), move_view(done=4, copying=2), move_view(**last)]
    run = Run("moves", "show", "--watch", "m1")
    assert run.code == code
    assert "s01 to s02: 4 of 10 files, 2 copying" in run.err
    assert f"is {last['state']}" in run.err
