"""`fab adopt` over a real OpenSSH server, with the agent's real command at the other end."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from operate import locks
from operate.files import adopting
from operate.files.adopting import Wanted
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator import programs
from portside.quantities import MIB
from tests.support.agent.process import COMMAND, Agent

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("own_files")


@pytest.fixture
def agent(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """The node s01 with its command where a deploy puts it, trusting this cluster's issuer."""
    home = tmp_path / "agent"
    home.mkdir()
    agent = Agent(home)
    (home / "keyset.json").write_text(site.keystore.keyset().model_dump_json())
    program = tmp_path / "opt" / "current" / "venv" / "bin" / "portside-agent"
    program.parent.mkdir(parents=True)
    line = f'exec {sys.executable} {COMMAND[0]} "{COMMAND[1]}" "$@"'
    program.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={ROOT} PORTSIDE_AGENT_CONFIG={home / 'agent.toml'}\n{line}\n"
    )
    program.chmod(0o755)
    moved = replace(programs.AGENT, home=str(tmp_path / "opt"))
    monkeypatch.setattr(adopting, "AGENT", moved)
    return agent


@pytest.fixture
def folder(agent: Agent) -> Path:
    folder = agent.home / "old uploads; rm -rf $HOME"
    folder.mkdir()
    (folder / "a.txt").write_text("a")
    (folder / "bad.weird").write_text("x")
    return folder


def wanted(place: Path, **changed: str) -> Wanted:
    return Wanted(**{"folder": str(place), "namespace": "old", "owner": "-alice's", **changed})


def test_a_folder_on_a_node_is_adopted_and_what_is_left_is_named(
    site: Site, agent: Agent, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not adopting.adopt(site, "s01", wanted(folder), Tell())
    said = capsys.readouterr().out
    assert "bad.weird: left: files ending in .weird are not taken" in said
    assert "s01: 1 files (1 B) adopted, their copies follow; 0 were stored already; 1 left" in said
    assert [path.read_text() for path in agent.visible_files()] == ["a"]
    (folder / "bad.weird").unlink()
    assert adopting.adopt(site, "s01", wanted(folder), Tell(as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert (told["adopted"], told["left"]) == (0, [])
    # Who did it stands in the node's own log.
    assert locks.audit(site, ["s01"], Tell(), 10, 1)
    assert f"adopt {folder}" in capsys.readouterr().out


def test_a_dry_run_tells_of_each_file_and_changes_nothing(
    site: Site, agent: Agent, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not adopting.adopt(site, "s01", wanted(folder), Tell(), dry=True)
    said = capsys.readouterr().out
    assert "a.txt: would-be\n" in said
    assert "1 files (1 B) would be adopted" in said
    assert agent.visible_files() == []


class _CtrlC(Tell):
    def line(self, text: str = "") -> None:
        raise KeyboardInterrupt


def test_ctrl_c_ends_the_run_on_the_node_too_and_the_same_command_goes_on(
    site: Site, agent: Agent, folder: Path
) -> None:
    (folder / "large.bin").write_bytes(large := os.urandom(6 * MIB))
    with pytest.raises(KeyboardInterrupt):
        adopting.adopt(site, "s01", wanted(folder, rate="1MiB"), _CtrlC())
    assert (folder / "large.bin").read_bytes() == large
    assert len(agent.visible_files()) == 1
    # Nothing runs there any more that would be in the way.
    adopting.adopt(site, "s01", wanted(folder), Tell())
    assert len(agent.visible_files()) == 2
    assert agent.leftovers() == []


@pytest.mark.parametrize(
    ("node_id", "changed", "said"),
    [
        ("s01", {"folder": "old"}, "whole path"),
        ("s01", {"folder": "/no/such"}, "there is no such folder"),
        ("s01", {"owner": ""}, "--owner"),
        ("s01", {"layout": "flat"}, "--layout"),
        ("s01", {"way": "burn"}, "--way"),
        ("s01", {"rate": "fast"}, "fast"),
        ("s01", {"valid": "90d"}, "at most"),
        ("c01", {}, "no storage node"),
        ("s09", {}, "no node 's09'"),
        ("s02", {}, "s02: can't be reached over SSH"),
    ],
)
def test_what_cannot_be_adopted_is_a_line(
    site: Site, agent: Agent, folder: Path, node_id: str, changed: dict[str, str], said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(Refused) as refused:
        adopting.adopt(site, node_id, wanted(folder, **changed), Tell())
    assert said in str(refused.value) + capsys.readouterr().err
    assert agent.visible_files() == []
