"""Two operators at once: the second hears who is at it, and nothing is left of one who is gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploys.runs import lock
from deploys.runs.trouble import RunRefused
from portside.operator import node_lock
from tests.support import append_only

NOW = datetime(2026, 11, 30, 14, 2, 59, tzinfo=UTC)


@pytest.fixture(autouse=True)
def audit_logs_go(tmp_path: Path) -> Iterator[None]:
    yield
    append_only.let_go(tmp_path)


def _start(file: Path, who: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "-c", node_lock.script(who, "deploy site.py", NOW, str(file), f"{file}.audit")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_lock_is_held_while_the_channel_is_open_and_says_by_whom(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with _start(file, "alice o'neil@laptop") as alice:
        assert _answer(alice) == "held"
        with _start(file, "bob@desk") as bob:
            assert _answer(bob) == f"taken {alice.pid} 2026-11-30T14:02Z alice o'neil@laptop"
        # Closed as by a process that is killed: nobody has to release it.
        alice.communicate()
    with _start(file, "bob@desk") as bob:
        assert _answer(bob) == "held"
        bob.communicate()


def test_its_holder_can_be_ended_as_the_refusal_says(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with _start(file, "alice@laptop") as alice:
        assert _answer(alice) == "held"
        with _start(file, "bob@desk") as bob:
            said = str(lock.refusal("s01", _answer(bob)))
        kill = said.partition("`")[2].partition("`")[0]
        assert kill.startswith("kill ")
        subprocess.run(kill.split(), check=True)
        alice.wait()
    with _start(file, "bob@desk") as bob:
        assert _answer(bob) == "held"
        bob.communicate()


def test_the_whole_run_of_the_second_is_refused_with_who_and_since_when() -> None:
    refused = lock.refusal("s01", "taken 812 2026-11-30T14:02Z alice@laptop")
    assert isinstance(refused, RunRefused)
    assert str(refused).startswith(
        "s01 is being changed by alice@laptop since 2026-11-30T14:02Z: let that run end; this one "
        "has changed nothing."
    )


@pytest.mark.parametrize("answer", ["", "sh: flock: not found"])
def test_a_lock_that_cannot_be_taken_is_that_hosts_trouble(answer: str) -> None:
    refused = lock.refusal("s01", answer)
    assert not isinstance(refused, RunRefused)
    assert "can't be taken" in str(refused)


def test_the_audit_log_says_who_did_what_and_how_it_ended(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    for who, last_word in (("alice o'neil@laptop", "done\n"), ('bob "b" $HOME@desk', "")):
        with _start(file, who) as running:
            assert _answer(running) == "held"
            running.communicate(last_word)
    entries = node_lock.read_audit((tmp_path / "lock.audit").read_text() + '{"at": "2026-')
    assert [(each.event, each.who, each.outcome) for each in entries] == [
        ("begun", "alice o'neil@laptop", None),
        ("ended", "alice o'neil@laptop", "done"),
        ("begun", 'bob "b" $HOME@desk', None),
        ("ended", 'bob "b" $HOME@desk', "cut"),
    ]
    assert {each.what for each in entries} == {"deploy site.py"}


def test_a_log_that_cannot_be_written_to_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "lock.audit").mkdir()
    with _start(tmp_path / "lock", "alice@laptop") as alice:
        assert _answer(alice) == "held"
        alice.communicate()


def test_a_node_that_somebody_closed_is_told_with_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_lock, "FOLDER", str(tmp_path))
    monkeypatch.setattr(node_lock, "CLOSED", str(tmp_path / "closed.json"))
    why = 'disk\'s being replaced "today"'
    close = node_lock.close("alice@laptop", why, NOW, str(tmp_path / "audit"))
    said = subprocess.run(["sh", "-c", close], capture_output=True, text=True, check=True)
    assert said.stdout == "done\n"
    with _start(tmp_path / "lock", "bob@desk") as bob:
        refused = lock.refusal("s01", _answer(bob))
    assert isinstance(refused, RunRefused)
    assert str(refused).startswith(f"s01 was closed by alice@laptop at 2026-11-30T14:02Z: {why};")
    # Who closed it works on.
    with _start(tmp_path / "lock", "alice@laptop") as alice:
        assert _answer(alice) == "held"
        alice.communicate()
    audit = str(tmp_path / "audit")
    for force, left in ((False, True), (True, False)):
        subprocess.run(["sh", "-c", node_lock.reopen("bob@desk", force, audit)], check=True)
        assert (tmp_path / "closed.json").exists() is left
