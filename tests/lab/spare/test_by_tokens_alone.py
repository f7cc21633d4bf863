"""A node without a control plane: what tokens say of a file holds, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
from http import HTTPStatus
from typing import Any

from portside.tokens import mint_access
from portside.wire import paths
from portside.wire.claims import Right
from tests.support.lab.control_plane import wait_for
from tests.support.lab.killing import kill_agents
from tests.support.lab.requests import Answer, Node
from tests.support.lab.spare import Spare
from tests.support.minting import access_claims

CONTENT = os.urandom(2_000_000)


def test_a_file_ends_stays_ended_and_can_be_taken_back(spare: Spare) -> None:
    node = spare.node
    file_id, place = _stored(node, expires_in=5)
    assert node.ask("GET", place).body == CONTENT
    wait_for("it has ended", 60, lambda: node.ask("HEAD", place).status == HTTPStatus.GONE or None)
    _crash(spare)
    assert node.ask("GET", place).slug == "file-expired"
    assert _asks(node, "delete", "PATCH", file_id, expires_at=None).status == HTTPStatus.OK
    assert node.ask("GET", place).body == CONTENT
    _crash(spare)
    assert node.ask("GET", place).body == CONTENT


def test_a_held_file_is_served_once_it_is_released_and_no_longer_than_that(spare: Spare) -> None:
    node = spare.node
    file_id, place = _stored(node, hold=True)
    _crash(spare)
    assert node.ask("GET", place).slug == "being-checked"
    assert _asks(node, "hold", "POST", f"{file_id}/release").status == HTTPStatus.OK
    assert node.ask("GET", place).body == CONTENT
    _crash(spare)
    assert node.ask("GET", place).body == CONTENT
    assert _asks(node, "hold", "POST", f"{file_id}/hold").status == HTTPStatus.OK
    assert node.ask("GET", place).slug == "being-checked"


def _stored(node: Node, **claims: Any) -> tuple[str, str]:
    answer = node.put("any.bin", CONTENT, node.mint(**claims))
    assert answer.status == HTTPStatus.CREATED, answer.body
    stored = json.loads(answer.body)
    return stored["file_id"], f"{paths.DIRECT}/{stored['path']}"


def _crash(spare: Spare) -> None:
    kill_agents({spare.node.node_id: spare.host}, {spare.node.node_id: spare.node})


def _asks(node: Node, right: Right, method: str, what: str, **body: object) -> Answer:
    claims = access_claims(node.issuer.owner, node.node_id, {"rights": (right,)})
    headers = {
        "Authorization": f"Bearer {mint_access(node.issuer, claims)}",
        "Content-Type": "application/json",
    }
    return node.ask(method, f"{paths.FILES}/{what}", json.dumps(body), headers)
