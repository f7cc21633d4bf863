"""`portside-agent` and `portside-control` on the PATH of their nodes, run by a real shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploys import layout
from deploys.operations.files import files_in_place
from deploys.operations.releases import command_on_path
from portside.operator.programs import AGENT, CONTROL, Program
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.this_computer import run_all

SETTINGS = "/etc/portside/agent.toml"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A program's home, with two releases that say which they are and with what they were run."""
    for release in ("one", "two"):
        path = tmp_path / "releases" / release / "venv" / "bin" / "portside-agent"
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\necho {release} "$PORTSIDE_AGENT_CONFIG" "$@"\n')
        path.chmod(0o755)
    _point_to(tmp_path, "one")
    return tmp_path


def _point_to(home: Path, release: str) -> None:
    (home / "new").symlink_to(f"releases/{release}")
    (home / "new").rename(home / "current")


@pytest.fixture
def run(home: Path, tmp_path: Path) -> Run:
    """Runs the command as somebody, on a computer whose `id` and `runuser` are the test's."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "id").write_text('#!/bin/sh\necho "$WHO"\n')
    (tools / "runuser").write_text('#!/bin/sh\necho -n "as $2: "\nshift 3\nexec "$@"\n')
    for each in tools.iterdir():
        each.chmod(0o755)
    text = command_on_path(
        Program("portside-agent", str(home), "keeper"), "PORTSIDE_AGENT_CONFIG", SETTINGS
    ).content
    command = tmp_path / "portside-agent"
    command.write_text(text)

    def run(who: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        path = f"{tools}:{os.environ['PATH']}"
        return subprocess.run(
            ["sh", str(command), *arguments],
            env={"PATH": path, "WHO": who, **variables},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_root_runs_the_current_release_as_its_user_with_its_settings(run: Run, home: Path) -> None:
    assert run("root", "quarantine", "a b").stdout == f"as keeper: one {SETTINGS} quarantine a b\n"
    assert run("keeper", "check").stdout == f"one {SETTINGS} check\n"
    _point_to(home, "two")
    assert run("root", "check").stdout == f"as keeper: two {SETTINGS} check\n"


def test_other_settings_can_be_named(run: Run) -> None:
    done = run("root", "check", PORTSIDE_AGENT_CONFIG="/other.toml")
    assert done.stdout == "as keeper: one /other.toml check\n"


def test_somebody_else_is_told_to_use_sudo(run: Run) -> None:
    done = run("nobody", "quarantine")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "portside-agent: only root may run this: sudo portside-agent quarantine\n"
    )


def test_without_a_release_it_says_so(run: Run, home: Path) -> None:
    (home / "current").unlink()
    done = run("root", "check")
    assert (done.returncode, "deploy this node again" in done.stderr) == (1, True)


@pytest.mark.usefixtures("this_computer")
def test_a_second_run_changes_nothing(tmp_path: Path, me: str) -> None:
    made = command_on_path(AGENT, "PORTSIDE_AGENT_CONFIG", SETTINGS)
    path = str(tmp_path / "portside-agent")
    wanted = [type(made)(path, made.content, me, made.mode, made.check)]
    assert run_all(files_in_place._inner(files=wanted)) == (3, "")
    assert list(files_in_place._inner(files=wanted)) == []


@pytest.mark.usefixtures("release", "secrets")
@pytest.mark.parametrize(
    ("script", "node", "program", "settings"),
    [
        ("storage_node.py", ("s01", "storage"), AGENT, layout.AGENT_TOML),
        ("control_node.py", ("c01", "control"), CONTROL, layout.CONTROL_TOML),
    ],
)
def test_each_node_gets_its_programs_command(
    script: str, node: tuple[str, str], program: Program, settings: str
) -> None:
    commands = fake_host.deploy(script, PRISTINE, node[0], [node[1]])
    placed = position(commands, "mv -fT", f"/usr/local/bin/{program.name}")
    assert position(commands, "mv -fT", settings) < placed
    written = commands[position(commands, f"cat > /usr/local/bin/.candidate-{program.name} ")]
    assert "chmod 0755" in written
