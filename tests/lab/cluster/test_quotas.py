"""Quotas through the real nginx, at real nodes, and behind a control plane that was killed."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from urllib.parse import quote

import pytest
from testinfra.host import Host

from portside.wire.status import UsageViews
from tests.support.lab.control_plane import ControlPlane
from tests.support.lab.requests import Node

MOST = 3_000_000


@pytest.fixture
def owner(control: ControlPlane) -> Iterator[str]:
    """Somebody with a quota of 3 MB, whose name has a slash in it."""
    control.wait_until_healthy()
    owner = f"lab/{secrets.token_hex(6)}"
    path = f"/api/v1/quotas/owners/{quote(owner, safe='')}"
    told = control.ask("PUT", path, {"bytes": MOST})
    assert (told.status, json.loads(told.body)["name"]) == (200, owner), told.body
    yield owner
    assert control.ask("DELETE", path).status == 200


def _used(control: ControlPlane, owner: str) -> list[int]:
    answer = control.ask("GET", f"/api/v1/usage?owner={quote(owner, safe='')}")
    views = UsageViews.model_validate_json(answer.body)
    return [each.bytes.used for each in views.usage]


def test_a_quota_holds_at_nodes_and_after_a_kill(
    control: ControlPlane, talk: Mapping[str, Node], nodes: Mapping[str, Host], owner: str
) -> None:
    content = os.urandom(2_000_000)
    session = control.session(owner=owner, name="a.bin", size=len(content))
    wish = {"owner": owner, "namespace": "lab", "name": "b.bin", "size": len(content)}
    refused = control.ask("POST", "/api/v1/upload/sessions", wish)
    assert (refused.status, refused.slug) == (413, "over-quota")
    assert talk[session.node_id].put("a.bin", content, session.token).status == 201
    deadline = time.monotonic() + 60
    while control.file(session.file_id).state != "safe":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    nodes["c01"].check_output("systemctl kill --kill-whom=all -s KILL portside-control.service")
    nodes["c01"].check_output("systemctl restart portside-control.service")
    control.wait_until_healthy()
    assert _used(control, owner) == [len(content)]
    # What is left is the most that an upload of unknown size may bring.
    unknown = control.session(owner=owner, name="c.bin")
    assert unknown.max_size == MOST - len(content)
    over = talk[unknown.node_id].put("c.bin", os.urandom(unknown.max_size + 1), unknown.token)
    assert over.status == 413
    for file_id in (unknown.file_id, session.file_id):
        control.delete(file_id)
    assert _used(control, owner) in ([0], [])
