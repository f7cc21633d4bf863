"""Whatever changes, no upload is dropped: PUT, form and tus, without a pause."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from portside.quantities import KIB
from tests.support.lab.deploy import copy_project, deploy
from tests.support.lab.machine import killed_for_memory
from tests.support.lab.requests import read_answer
from tests.support.lab.spare import Spare
from tests.support.lab.unceasing import Tally, uploads_without_a_pause

AGENT = "portside-agent.service"


def _nothing_was_dropped(tally: Tally) -> None:
    assert tally.failed == []
    assert min(tally.stored[kind] for kind in ("put", "form", "tus")) >= 2, tally


def test_reloads_restarts_and_a_crash_of_the_supervisor_drop_no_upload(spare: Spare) -> None:
    with uploads_without_a_pause(spare.node) as tally:
        for command in (
            f"systemctl reload {AGENT}",
            f"systemctl restart {AGENT}",
            f"systemctl kill --kill-whom=main -s KILL {AGENT}; sleep 3",
            f"systemctl restart {AGENT}",
        ):
            spare.host.check_output(command)
            time.sleep(1)
    _nothing_was_dropped(tally)


@pytest.mark.usefixtures("put_back")
def test_a_deploy_that_changes_the_unit_drops_no_upload(spare: Spare, tmp_path: Path) -> None:
    project = copy_project(tmp_path)
    unit = project / "templates" / "systemd" / "portside-agent.service.j2"
    unit.write_text(unit.read_text().replace("RestartSec=2\n", "RestartSec=3\n"))
    with uploads_without_a_pause(spare.node) as tally:
        run = deploy(spare.file, project=project)
        assert run.succeeded, run.output
    assert run.hosts("success").keys() == {
        "Nodes take over, one after the other",
        "Agent | Units",
        "Agent | Agent runs and is ready",
    }
    _nothing_was_dropped(tally)


@pytest.mark.usefixtures("put_back")
def test_a_unit_that_does_not_start_leaves_the_old_process_serving(
    spare: Spare, tmp_path: Path
) -> None:
    project = copy_project(tmp_path)
    unit = project / "templates" / "systemd" / "portside-agent.service.j2"
    unit.write_text(unit.read_text().replace("[Service]\n", "[Service]\nRootDirectory=/gone\n"))
    with uploads_without_a_pause(spare.node) as tally:
        run = deploy(spare.file, project=project)
        assert run.failed_in == "Agent | Agent runs and is ready", run.output
        assert "has not taken over" in run.output
        time.sleep(3)
    _nothing_was_dropped(tally)


def test_five_reloads_under_uploads_stay_within_the_memory(spare: Spare) -> None:
    """Each process that drains has one upload that only this test ends."""
    node, host = spare.node, spare.host
    restarts = f"systemctl show --value -p NRestarts {AGENT}"
    before = killed_for_memory(host, AGENT), host.check_output(restarts)
    content = bytes(60 * KIB)
    with ExitStack() as stack:
        held = []
        for _ in range(5):
            connection = stack.enter_context(node.open_put("held.bin", len(content), node.mint()))
            connection.sendall(content[:KIB])
            held.append(connection)
            time.sleep(1)
            # What there is no memory for waits.
            host.check_output(f"systemctl kill --kill-whom=main -s HUP {AGENT}")
            time.sleep(4)
            assert node.put("beside.bin", b"taken at once").status == 201
        for connection in held:
            connection.sendall(content[KIB:])
            assert read_answer(connection).status == 201
    assert (killed_for_memory(host, AGENT), host.check_output(restarts)) == before
