"""Files that are looked at before they are public: nobody gets one, whatever is killed."""

from __future__ import annotations

import os
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
AGENT = "portside-agent.service portside-agent-worker.service"

SERVED = {200}
REFUSED = {403}


@pytest.fixture(autouse=True)
def healthy(control: ControlPlane) -> Iterator[None]:
    """Every node takes uploads at the beginning, and again at the end."""
    control.wait_until_healthy()
    yield
    control.wait_until_healthy()


def test_a_held_file_is_copied_and_served_by_nobody_until_it_is_released(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    file = _uploaded(control, talk, hold=True)
    assert file.held
    assert len(_holding(file)) == 2
    _assert_served(control, talk, file, REFUSED)
    kill_agents(nodes, talk)
    kill_control_plane(nodes["c01"], control)
    _assert_served(control, talk, file, REFUSED)
    assert control.ask("GET", f"/f/{file.file_id}").slug == "being-checked"
    for node_id in _holding(file):
        assert talk[node_id].ask("GET", f"/uploads/{file.path}").slug == "being-checked"

    control.portside("release", file.file_id, "--reason", "nothing was found")
    _wait_until_served(control, talk, file, SERVED)
    kill_agents(nodes, talk)
    kill_control_plane(nodes["c01"], control)
    _assert_served(control, talk, file, SERVED)


def test_a_takedown_reaches_a_node_that_was_away_too(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    file = _uploaded(control, talk)
    _wait_until_served(control, talk, file, SERVED)
    away, there = sorted(_holding(file))
    nodes[away].check_output(f"systemctl stop {AGENT}")
    try:
        control.portside("hold", file.file_id, "--reason", "reported by a user")
        assert control.ask("GET", f"/f/{file.file_id}").slug == "being-checked"
        place = f"/uploads/{file.path}"
        wait_for(there, 60, lambda: talk[there].ask("HEAD", place).status == 403 or None)
        _wait_for_confirmations(control, file, (away,))
    finally:
        nodes[away].check_output(f"systemctl start {AGENT}")
    _wait_until_served(control, talk, file, REFUSED)
    _wait_for_confirmations(control, file, ())
    kill_agents(nodes, talk)
    _assert_served(control, talk, file, REFUSED)


def _uploaded(control: ControlPlane, talk: Mapping[str, Node], **wanted: Any) -> FileView:
    session = control.session(name="looked-at.bin", size=len(CONTENT), **wanted)
    stored = talk[session.node_id].put("looked-at.bin", CONTENT, session.token)
    assert stored.status == 201, stored.body
    return wait_until_safe(control, session.file_id)


def _holding(file: FileView) -> set[str]:
    return {copy.node_id for copy in file.copies if copy.state == "present"}


def _served(control: ControlPlane, talk: Mapping[str, Node], file: FileView) -> set[int]:
    """What every way to a file answers; a redirect to a copy stands for the copy."""
    place = f"/uploads/{file.path}"
    direct = {talk[node_id].ask("GET", place).status for node_id in _holding(file)}
    lasting = control.ask("GET", f"/f/{file.file_id}").status
    return direct if lasting == 302 else direct | {lasting}


def _assert_served(
    control: ControlPlane, talk: Mapping[str, Node], file: FileView, wanted: set[int]
) -> None:
    assert _served(control, talk, file) == wanted


def _wait_until_served(
    control: ControlPlane, talk: Mapping[str, Node], file: FileView, wanted: set[int]
) -> None:
    wait_for(str(wanted), 60, lambda: _served(control, talk, file) == wanted or None)


def _wait_for_confirmations(control: ControlPlane, file: FileView, but_of: tuple[str, ...]) -> None:
    def look() -> bool | None:
        return control.file(file.file_id).hold_waits_for == but_of or None

    wait_for(f"every node confirms, but not {but_of}", 60, look)
