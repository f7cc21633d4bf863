"""Files that end by themselves, and files that are held: what was said of one holds everywhere,
whatever is killed or away meanwhile.

Without a control plane: `tests/lab/spare/test_by_tokens_alone.py`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from testinfra.host import Host

from portside.wire.control import FileView
from tests.support.lab.control_plane import ControlPlane, wait_for, wait_until_safe
from tests.support.lab.killing import kill_agents, kill_control_plane
from tests.support.lab.requests import Node

CONTENT = os.urandom(2_000_000)
LIFE = 25
"""Seconds: long enough for two copies to be made first."""

EVERYWHERE = 90.0
"""Seconds until what the control plane says has reached every node."""

SERVED, HELD, ENDED = {200}, {403}, {410}


@pytest.fixture(autouse=True)
def healthy(control: ControlPlane) -> Iterator[None]:
    """Every node takes uploads at the beginning, and again at the end."""
    control.wait_until_healthy()
    yield
    control.wait_until_healthy()


def test_what_was_said_of_a_file_outlives_every_process(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    def crash() -> None:
        kill_agents(nodes, talk)
        kill_control_plane(nodes["c01"], control)

    ends = _uploaded(control, talk, expires_in=LIFE)
    comes_back = _uploaded(control, talk, expires_in=LIFE)
    stays = _uploaded(control, talk, expires_in=3600)
    held = _uploaded(control, talk, hold=True)
    released = _uploaded(control, talk, hold=True)
    assert held.held
    assert _served(control, talk, held) == HELD
    for each in (ends, comes_back):
        _wait_until_served(control, talk, each, ENDED)
    crash()
    assert _served(control, talk, ends) == _served(control, talk, comes_back) == ENDED
    assert _served(control, talk, held) == _served(control, talk, released) == HELD
    assert _served(control, talk, stays) == SERVED
    assert _listed(control, ends.file_id)["state"] == "expired"
    assert control.ask("GET", f"/f/{ends.file_id}").slug == "file-expired"
    assert control.ask("GET", f"/f/{held.file_id}").slug == "being-checked"
    node = talk[min(_holding(held))]
    assert node.ask("GET", f"/uploads/{held.path}").slug == "being-checked"

    control.portside("restore", comes_back.file_id)
    control.portside("release", released.file_id, "--reason", "nothing was found")
    for each in (comes_back, released):
        _wait_until_served(control, talk, each, SERVED)
    crash()
    assert _served(control, talk, comes_back) == _served(control, talk, released) == SERVED
    assert _served(control, talk, ends) == ENDED
    assert _served(control, talk, held) == HELD


def test_a_node_that_was_away_hears_what_was_said_meanwhile(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    lives_on = _uploaded(control, talk, expires_in=LIFE)
    taken_down = _uploaded(control, talk)
    _wait_until_served(control, talk, taken_down, SERVED)
    # Two nodes of three have each file: one at least has both.
    away = min(_holding(lives_on) & _holding(taken_down))
    (there,) = _holding(taken_down) - {away}
    with _away(nodes[away]):
        control.portside("keep", lives_on.file_id, "--for", "1h")
        control.portside("hold", taken_down.file_id, "--reason", "reported by a user")
        assert control.ask("GET", f"/f/{taken_down.file_id}").slug == "being-checked"
        place = f"/uploads/{taken_down.path}"
        wait_for(there, 60, lambda: talk[there].ask("HEAD", place).status == 403 or None)
        _wait_for_confirmations(control, taken_down, (away,))
        wait_for("its first moment is over", 60, lambda: _is_over(lives_on) or None)
    _wait_until_served(control, talk, lives_on, SERVED)
    _wait_until_served(control, talk, taken_down, HELD)
    _wait_for_confirmations(control, taken_down, ())


@contextmanager
def _away(host: Host) -> Iterator[None]:
    host.check_output("systemctl stop portside-agent-worker.service portside-agent.service")
    try:
        yield
    finally:
        host.check_output("systemctl start portside-agent.service portside-agent-worker.service")


def _uploaded(control: ControlPlane, talk: Mapping[str, Node], **wanted: Any) -> FileView:
    session = control.session(name="said-of.bin", size=len(CONTENT), **wanted)
    stored = talk[session.node_id].put("said-of.bin", CONTENT, session.token)
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


def _wait_until_served(
    control: ControlPlane, talk: Mapping[str, Node], file: FileView, wanted: set[int]
) -> None:
    wait_for(
        f"{file.path} is {wanted}",
        EVERYWHERE,
        lambda: _served(control, talk, file) == wanted or None,
    )


def _wait_for_confirmations(control: ControlPlane, file: FileView, but_of: tuple[str, ...]) -> None:
    def look() -> bool | None:
        return control.file(file.file_id).hold_waits_for == but_of or None

    wait_for(f"every node confirms, but not {but_of}", 60, look)


def _is_over(file: FileView) -> bool:
    assert file.expires_at is not None
    return time.time() > file.expires_at.timestamp() + 1


def _listed(control: ControlPlane, file_id: str) -> dict[str, Any]:
    listed = control.portside("ls", "--json", "said-of.bin", "--namespace", "lab")
    found = (json.loads(line) for line in listed.splitlines())
    return next(each for each in found if each["file_id"] == file_id)
