"""Whenever a run ends, each file is as it was or adopted, and the next run does the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agent import settings
from agent.adoption.adopting import Way
from agent.commands import adopt as command
from faults.causing.filesystem import Disk
from portside.quantities import MIB
from tests.support.agent.adoption import NAMESPACE, OWNER, adopt, arguments_for, order
from tests.support.agent.process import COMMAND, Agent

CONTENTS = {f"{number}.bin": os.urandom(5000 + number) for number in range(3)}

STEPS = ("agent/adoption/", "agent/storage/", "agent/index/files.py", "portside/durable_file.py")
"""Whose lines are steps of a run."""


def fill(folder: Path) -> Path:
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return folder


def run_until(agent: Agent, folder: Path, way: Way, last: int) -> bool:
    """Run the command in a process of its own that is killed at its step `last`; whether it was."""
    by = order(agent)
    child = os.fork()
    if child == 0:
        try:
            _run_killed(agent, folder, way, by, last)
        finally:
            os._exit(9)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


def _run_killed(agent: Agent, folder: Path, way: Way, by: Path, last: int) -> None:
    steps = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        if not any(part in frame.f_code.co_filename for part in STEPS):
            return None
        if event == "line":
            steps += 1
            if steps == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return step

    found = settings.load(agent.home / "agent.toml")
    wish = command.Wish(
        folder, NAMESPACE, OWNER, "dated", way, str(by), None, False, True, False, False
    )
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    sys.settrace(step)
    code = command.run(found, wish, StringIO())
    sys.settrace(None)
    os._exit(code)


def nothing_is_lost(agent: Agent, folder: Path) -> None:
    """Every content is there, whole, under its old name or a stored one."""
    there = {path.read_bytes() for path in (*folder.iterdir(), *agent.visible_files())}
    assert there >= set(CONTENTS.values())


def the_rest_is_done(agent: Agent, folder: Path, *, originals: bool) -> None:
    run = adopt(agent, folder, *(("--copy",) if originals else ()))
    assert run.code == 0, run
    stored = [path.read_bytes() for path in agent.visible_files()]
    assert sorted(stored) == sorted(CONTENTS.values()), "lost or doubled"
    assert len(list(folder.iterdir())) == (len(CONTENTS) if originals else 0)
    assert agent.leftovers() == []
    done = agent.command("fsck", "--digests", "--minimum-age", "0")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("way", ["move", "copy"])
def test_a_run_that_is_killed_at_any_step_loses_and_doubles_nothing(
    make_agent: Callable[..., Agent], tmp_path: Path, way: Way
) -> None:
    killed, last = 0, 40
    while True:
        agent = make_agent()
        folder = fill(tmp_path / f"old-{last}")
        if not run_until(agent, folder, way, last):
            break
        killed += 1
        nothing_is_lost(agent, folder)
        the_rest_is_done(agent, folder, originals=way == "copy")
        # No multiple of what a file takes: each file is cut elsewhere.
        last += 53
    assert killed > 10


def test_what_a_power_cut_leaves_is_gone_on_with(tmp_path: Path) -> None:
    for number, last in enumerate(range(200, 1000, 160)):
        home = tmp_path / str(number)
        home.mkdir()
        with Disk(home, 64 * MIB) as disk:
            agent = Agent(home, root=disk.root / "node")
            folder = fill(disk.root / "old")
            disk.sync()
            assert run_until(agent, folder, "move", last)
            disk.cut()
            disk.power_on()
            nothing_is_lost(agent, folder)
            the_rest_is_done(agent, folder, originals=False)


def test_an_agent_that_starts_beside_a_run_leaves_its_files_alone(
    make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = make_agent()
    folder = fill(tmp_path / "old")
    # At any step of the commit: what recovery finds then is another process's.
    for last in range(300, 700, 100):
        run_until(agent, folder, "move", last)
        agent.start()
        agent.kill()
        nothing_is_lost(agent, folder)
    the_rest_is_done(agent, folder, originals=False)


def test_ctrl_c_ends_a_run_between_two_files_and_says_how_to_go_on(
    make_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = make_agent()
    folder = fill(tmp_path / "old")
    (folder / "large.bin").write_bytes(large := os.urandom(8 * MIB))
    program = [sys.executable, *COMMAND, *arguments_for(agent, folder, "--rate", "1MiB")]
    program += ["--config", str(agent.home / "agent.toml")]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 60
        while len(agent.visible_files()) < len(CONTENTS):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == command.INTERRUPTED
    assert b"interrupted: the same command goes on" in err
    assert (folder / "large.bin").read_bytes() == large
    assert agent.leftovers() == []
    assert adopt(agent, folder).summary["adopted"] == 1


def test_a_disk_without_room_for_all_is_said_before_anything_is_begun(tmp_path: Path) -> None:
    folder = fill(tmp_path / "old")
    (folder / "z.bin").write_bytes(os.urandom(80 * MIB))
    home = tmp_path / "home"
    home.mkdir()
    with Disk(home, 64 * MIB) as disk:
        agent = Agent(home, root=disk.root / "node")
        run = adopt(agent, folder)
        assert (run.code, run.summary["adopted"]) == (command.FAILED, 0)
        assert "have to be copied" in run.err
        assert "nothing was begun" in run.err
        # Single files that lie there already need no room.
        there = fill(disk.root / "old")
        assert adopt(agent, there).summary["adopted"] == len(CONTENTS)


def test_a_disk_that_fills_meanwhile_ends_the_run_and_keeps_what_was_done(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Disk(home, 64 * MIB) as disk:
        agent = Agent(home, root=disk.root / "node")
        folder = fill(disk.root / "old")
        adopt(agent, folder, "--dry-run")
        with (disk.root / "hog").open("wb") as hog:
            try:
                while True:
                    hog.write(bytes(MIB))
                    hog.flush()
            except OSError:
                pass
        run = adopt(agent, folder)
        assert run.code == command.FAILED
        assert "the disk is full" in run.err
        nothing_is_lost(agent, folder)
        (disk.root / "hog").unlink()
        the_rest_is_done(agent, folder, originals=False)
