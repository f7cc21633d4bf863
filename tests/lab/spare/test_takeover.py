"""A new release takes over while an upload runs: nobody waits, and nothing is cut."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from testinfra.host import Host

from portside.quantities import MIB
from tests.support.lab.deploy import copy_project, deploy
from tests.support.lab.requests import read_answer
from tests.support.lab.spare import Spare

AGENT = "portside-agent.service"


@pytest.fixture
def newer_project(tmp_path: Path) -> Path:
    """The project with a change in the agent."""
    project = copy_project(tmp_path)
    source = project / "agent" / "__init__.py"
    source.write_text(source.read_text() + f"\n# {time.time_ns()}\n")
    return project


def _release_of(host: Host) -> str:
    return str(host.check_output("readlink /opt/portside/current"))


def _children(host: Host, process: int) -> list[int]:
    return list(map(int, host.check_output(f"cat /proc/{process}/task/{process}/children").split()))


def _supervisor(host: Host) -> int:
    return int(host.check_output(f"systemctl show --value -p MainPID {AGENT}"))


@pytest.mark.usefixtures("put_back")
def test_a_new_release_takes_uploads_while_the_old_one_finishes_its_own(
    newer_project: Path, spare: Spare
) -> None:
    node, host = spare.node, spare.host
    before, supervisor = _release_of(host), _supervisor(host)
    content = os.urandom(8 * MIB)
    with node.open_put("across.bin", len(content), node.mint()) as running:
        running.sendall(content[: 4 * MIB])
        started = time.monotonic()
        run = deploy(spare.file, project=newer_project)
        seconds = time.monotonic() - started
        assert run.succeeded, run.output
        # It didn't wait for the upload, which nothing but this test will end.
        assert seconds < 500
        assert _release_of(host) != before
        assert _supervisor(host) == supervisor
        generations = _children(host, supervisor)
        assert len(generations) == 2
        (worker,) = _children(host, generations[-1])
        loaded = host.check_output(f"cat /proc/{worker}/maps")
        assert _release_of(host) in loaded
        assert before not in loaded

        during = node.put("during.bin", b"taken by the new one")
        assert during.status == 201, during.body

        running.sendall(content[4 * MIB :])
        answer = read_answer(running)
    assert answer.status == 201, answer.body
    assert json.loads(answer.body)["sha256"] == hashlib.sha256(content).hexdigest()
