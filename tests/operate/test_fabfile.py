"""`fab`: every task has its help, and a mistake is a line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fabric.main
import pytest

import fabfile
from operate.site import Site

ROOT = Path(__file__).parents[2]
FAB = Path(sys.executable).with_name("fab")
TASKS = sorted(each.name for each in vars(fabfile).values() if hasattr(each, "pre"))


def fab(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FAB, *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_list_reads_as_a_table_of_contents() -> None:
    said = fab("--list").stdout
    assert "status" in TASKS
    for name in TASKS:
        assert f"  {name} " in said


@pytest.mark.parametrize("name", TASKS)
def test_every_task_tells_how_it_is_used(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    fabric.main.program.run(["fab", name, "--help"], exit=False)
    said = capsys.readouterr().out
    assert f"fab [--core-opts] {name} " in said
    assert "--json" in said


def test_a_node_that_does_not_exist_is_a_line_that_names_those_that_do(site: Site) -> None:
    for words in (["drain", "s09"], ["-H", "s09", "status"], ["-H", "s09", "logs"]):
        done = fab(*words)
        assert done.returncode == 1
        assert done.stderr == f"no node 's09' in {site.path}: there are s01, s02, c01\n"


def test_a_program_gets_one_object_and_people_their_lines_beside_it(site: Site) -> None:
    done = fab("status", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert [each["node_id"] for each in told["nodes"]] == ["s01", "s02", "c01"]
    assert "s02: can't be reached over SSH" in done.stderr
    assert done.returncode == 1


def test_an_interrupted_task_says_what_that_leaves(site: Site) -> None:
    words = [str(FAB), "-H", "s01", "logs", "--follow"]
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        # OpenSSH runs as its child as soon as the log is followed.
        deadline = time.monotonic() + 60
        while not _children(running.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert err.splitlines()[-1] == "interrupted: nothing was changed"


def _children(pid: int) -> list[str]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [each for task in tasks for each in task.read_text().split()]
