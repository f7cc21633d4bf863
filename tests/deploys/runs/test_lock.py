"""Two operators at once: the second hears who is at it, and nothing is left of one who is gone."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploys.runs import lock
from deploys.runs.trouble import RunRefused

NOW = datetime(2026, 11, 30, 14, 2, 59, tzinfo=UTC)


def _start(file: Path, who: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["sh", "-c", lock.script(str(file), who, NOW)],
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
        "s01 is being deployed by alice@laptop since 2026-11-30T14:02Z: let that run end; this one "
        "has changed nothing."
    )


@pytest.mark.parametrize("answer", ["", "sh: flock: not found"])
def test_a_lock_that_cannot_be_taken_is_that_hosts_trouble(answer: str) -> None:
    refused = lock.refusal("s01", answer)
    assert not isinstance(refused, RunRefused)
    assert "can't be taken" in str(refused)
