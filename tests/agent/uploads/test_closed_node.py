"""A node that an operator wants no new files on refuses them by itself, and says who takes them."""

from __future__ import annotations

import pytest
import requests

from portside.tokens import SigningKey
from portside.wire.heartbeat import NodeState
from tests.support.agent.node_pairs import introduce, member
from tests.support.agent.process import Agent, slug_of


def _wanted(agent: Agent, state: NodeState) -> None:
    other = member(agent).model_copy(
        update={"node_id": "s02", "key": SigningKey.generate("s02").public()}
    )
    introduce(agent, nodes=(member(agent, state=state), other))


def _tus(agent: Agent, token: str, **headers: str) -> requests.Response:
    sent = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0", "Upload-Length": "4"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.post(f"{agent.url}/api/v1/uploads", headers={**sent, **named}, timeout=60)


@pytest.mark.parametrize("state", ["draining", "readonly", "retired"])
def test_a_new_file_is_refused_and_what_was_promised_comes_in(
    agent: Agent, state: NodeState
) -> None:
    begun = agent.mint(name="parts.bin", size=8)
    part = {"Upload_Concat": "partial"}
    assert _tus(agent, begun, **part).status_code == 201
    _wanted(agent, state)
    for answer in (agent.put("a.bin", b"x"), _tus(agent, agent.mint(name="a.bin", size=4))):
        assert (answer.status_code, slug_of(answer)) == (409, "node-closed")
        assert answer.json()["detail"] == f"s01 is {state}: it takes no new files; use s02"
    # A session's upload, and the further parts of one that has begun.
    assert agent.put("b.bin", b"x", agent.mint(app="web")).status_code == 201
    assert _tus(agent, begun, **part).status_code == 201
    _wanted(agent, "active")
    assert agent.put("c.bin", b"x").status_code == 201
