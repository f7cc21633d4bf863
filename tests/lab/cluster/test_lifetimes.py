"""Files that end by themselves: everywhere, for good, not before, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from testinfra.host import Host

from portside.wire.control import FileView
from tests.support.lab.control_plane import (
    ControlPlane,
    wait_for,
    wait_until_safe,
)
from tests.support.lab.killing import kill_agents, kill_control_plane
from tests.support.lab.requests import Node

CONTENT = os.urandom(2_000_000)
LIFE = 12
"""Seconds: long enough for two copies to be made first."""

EVERYWHERE = 90.0
"""Seconds until what the control plane says has reached every node, one that was killed too."""


@pytest.fixture(autouse=True)
def healthy(control: ControlPlane) -> Iterator[None]:
    """Every node takes uploads at the beginning, and again at the end."""
    control.wait_until_healthy()
    yield
    control.wait_until_healthy()


def test_a_file_ends_on_every_node_and_stays_ended_when_everything_is_killed(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    ends = _uploaded(control, talk, expires_in=LIFE)
    stays = _uploaded(control, talk, expires_in=3600)
    kill_agents(nodes, talk)
    _wait_for_status(control, talk, ends, 410)
    kill_agents(nodes, talk)
    kill_control_plane(nodes["c01"], control)
    assert _statuses(control, talk, ends) == {"/f/": 410, "s": {410}}
    assert _statuses(control, talk, stays) == {"/f/": 302, "s": {200}}
    assert _listed(control, ends.file_id)["state"] == "expired"
    problem = control.ask("GET", f"/f/{ends.file_id}")
    assert problem.slug == "file-expired"


def test_what_has_ended_is_taken_back_within_the_grace_and_survives_a_crash(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    file = _uploaded(control, talk, expires_in=LIFE)
    _wait_for_status(control, talk, file, 410)
    control.portside("restore", file.file_id)
    _wait_for_status(control, talk, file, 200)
    kill_agents(nodes, talk)
    assert _statuses(control, talk, file) == {"/f/": 302, "s": {200}}
    control.portside("keep", file.file_id, "--for", "0")
    _wait_for_status(control, talk, file, 410)


def test_a_node_that_was_away_hears_that_a_file_lives_longer(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    file = _uploaded(control, talk, expires_in=LIFE)
    away = next(iter(_holding(file)))
    host = nodes[away]
    host.check_output("systemctl stop portside-agent-worker.service portside-agent.service")
    try:
        control.portside("keep", file.file_id, "--for", "1h")
        wait_for("its first moment is over", 60, lambda: _is_over(file) or None)
    finally:
        host.check_output("systemctl start portside-agent.service portside-agent-worker.service")
    _wait_for_status(control, talk, control.file(file.file_id), 200)


def _uploaded(control: ControlPlane, talk: Mapping[str, Node], **wanted: Any) -> FileView:
    session = control.session(name="ends.bin", size=len(CONTENT), **wanted)
    stored = talk[session.node_id].put("ends.bin", CONTENT, session.token)
    assert stored.status == 201, stored.body
    return wait_until_safe(control, session.file_id)


def _holding(file: FileView) -> set[str]:
    return {copy.node_id for copy in file.copies if copy.state == "present"}


def _statuses(control: ControlPlane, talk: Mapping[str, Node], file: FileView) -> dict[str, object]:
    place = f"/uploads/{file.path}"
    return {
        "/f/": control.ask("GET", f"/f/{file.file_id}").status,
        "s": {talk[node_id].ask("HEAD", place).status for node_id in _holding(file)},
    }


def _wait_for_status(
    control: ControlPlane, talk: Mapping[str, Node], file: FileView, wanted: int
) -> None:
    answered = {"/f/": 302 if wanted == 200 else wanted, "s": {wanted}}
    wait_for(
        f"{file.path} is {wanted} everywhere",
        EVERYWHERE,
        lambda: _statuses(control, talk, file) == answered or None,
    )


def _is_over(file: FileView) -> bool:
    assert file.expires_at is not None
    return time.time() > file.expires_at.timestamp() + 1


def _listed(control: ControlPlane, file_id: str) -> dict[str, Any]:
    listed = control.portside("ls", "--json", "ends.bin", "--namespace", "lab")
    found = (json.loads(line) for line in listed.splitlines())
    return next(each for each in found if each["file_id"] == file_id)
