"""What `make test` runs at once: each is heard, one failure is enough, and an end ends them all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.loopback import PATIENCE, wait_until

COMMAND = [sys.executable, "-m", "tests.side_by_side"]
ROOT = Path(__file__).parents[2]


def test_all_of_them_are_heard_to_their_end_though_one_fails() -> None:
    commands = ["quick", "echo FAILED; echo 1 failed; exit 3", "slow", "sleep 2; echo 12 passed"]
    done = subprocess.run(
        [*COMMAND, *commands], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    told = re.fullmatch(
        r"quick \| FAILED\nquick \| 1 failed\nslow  \| 12 passed\n"
        r"slow: ok, (\d+) s\n12 passed\nquick: failed \(3\), (\d+) s\nFAILED\n1 failed\n",
        done.stdout,
    )
    assert told, done.stdout
    assert int(told[2]) < int(told[1]), "what failed is told last, however long the others took"


def test_it_succeeds_where_all_succeed() -> None:
    assert subprocess.run([*COMMAND, "a", "true", "b", ":"], cwd=ROOT, check=False).returncode == 0


def test_an_end_from_outside_ends_them_all_with_what_they_started(tmp_path: Path) -> None:
    command = "sleep 600 & echo $! > {0}.new; mv {0}.new {0}; exec sleep 600"
    marks = [tmp_path / "first", tmp_path / "second"]
    commands = [word for mark in marks for word in (mark.name, command.format(mark))]
    with subprocess.Popen([*COMMAND, *commands], cwd=ROOT) as running:
        wait_until(lambda: all(mark.exists() for mark in marks))
        started = [int(mark.read_text()) for mark in marks]
        wait_until(lambda: {_program_of(os.getpgid(pid)) for pid in started} == {"sleep"})
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=PATIENCE) == 1
    wait_until(lambda: {_program_of(pid) for pid in started} == {None})


def _program_of(pid: int) -> str | None:
    """What a process runs, None once it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return None
    program, _, rest = stat.partition("(")[2].rpartition(")")
    # Whoever inherited it may take its time to hear of its end.
    return None if rest.split()[0] == "Z" else program
