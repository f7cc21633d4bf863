"""A release that does not work goes back by itself; a node goes back when it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from portside.names import CANARY
from tests.support.lab.deploy import copy_project, deploy
from tests.support.lab.spare import NODE, Spare


def _changed_agent(directory: Path, line: str) -> Path:
    """The project with an agent that carries out `line` before each commit."""
    project = copy_project(directory)
    source = project / "agent" / "storage" / "commit.py"
    place = "        now = datetime.now(UTC)\n        committed_at"
    text = source.read_text()
    assert text.count(place) == 1
    source.write_text(text.replace(place, f"        {line}\n{place}"))
    return project


def _runs(spare: Spare) -> str:
    return str(spare.host.check_output("readlink /opt/portside/current"))


def test_a_release_that_takes_no_file_goes_back_by_itself(spare: Spare, tmp_path: Path) -> None:
    before = _runs(spare)
    # It starts, and says that it is ready.
    bad = _changed_agent(tmp_path, "raise RuntimeError('a bad release')")
    settings = bad / "templates" / "agent" / "agent.toml.j2"
    settings.write_text(settings.read_text() + "# of the bad release\n")
    run = deploy(spare.file, project=bad)
    assert not run.succeeded
    assert f"it went back to {before.removeprefix('releases/')} and works again" in run.output
    assert "RuntimeError: a bad release" in run.output
    assert _runs(spare) == before
    assert not spare.host.file("/etc/portside/agent.toml").contains("of the bad release")
    assert spare.node.put("after.bin", b"taken").status == 201
    # All is as it was: the next run has nothing to do but to throw the bad one away.
    again = deploy(spare.file)
    assert again.succeeded, again.output
    assert set(again.hosts("success")) <= {"Agent | Old releases are gone"}


def test_what_a_run_changed_and_never_proved_the_next_run_proves(spare: Spare) -> None:
    # As a run leaves it that loses its connection after the last change.
    spare.host.check_output(
        "install -d -m 0700 /opt/portside/before && "
        "basename $(readlink /opt/portside/current) > /opt/portside/before/release"
    )
    run = deploy(spare.file)
    assert run.succeeded, run.output
    assert f"[{NODE}] proven: a file went in, came back and was deleted" in run.output
    assert not spare.host.file("/opt/portside/before").exists
    again = deploy(spare.file)
    assert (again.succeeded, again.hosts("success")) == (True, {})


@pytest.mark.usefixtures("put_back")
def test_a_node_goes_back_to_the_release_before_and_stays_there(
    spare: Spare, tmp_path: Path
) -> None:
    before = _runs(spare)
    run = deploy(spare.file, project=_changed_agent(tmp_path, "pass  # a new release"))
    assert run.succeeded, run.output
    assert _runs(spare) != before
    back = deploy(spare.file, script="rollback.py")
    assert back.succeeded, back.output
    assert f"[{NODE}] proven: a file went in, came back and was deleted" in back.output
    assert _runs(spare) == before
    assert spare.node.put("after.bin", b"taken").status == 201
    again = deploy(spare.file, script="rollback.py")
    assert (again.succeeded, again.hosts("success")) == (True, {})


def test_of_the_files_by_which_a_node_is_proven_none_is_left(spare: Spare) -> None:
    page = spare.node.manage("GET", f"/api/v1/files?namespace={CANARY}", "list")
    assert (page.status, b'"files":[]' in page.body.replace(b" ", b"")) == (200, True)
