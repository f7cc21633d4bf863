"""A process that drains hands back what goes on elsewhere, and finishes the rest."""

from __future__ import annotations

import hashlib
import json
import socket
from http.client import HTTPResponse

import requests

from portside.serving.status import hand_back_file
from tests.support.agent.process import Agent
from tests.support.loopback import wait_until, wait_until_read

CONTENT = bytes(range(256)) * 20


def test_resumable_uploads_are_handed_back_and_whole_ones_finished(agent: Agent) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {agent.mint(name='a.bin')}"}
    created = requests.post(
        f"{agent.url}/api/v1/uploads",
        headers={**headers, "Upload-Length": str(len(CONTENT))},
        timeout=60,
    )
    place = created.headers["Location"].removeprefix(agent.url)
    with _patch(agent, place, headers) as resumable, agent.open_put("b.bin", 256) as whole:
        resumable.sendall(CONTENT[:1000])
        whole.sendall(CONTENT[:100])
        agent.wait_for_uploads(2)
        # A slot is taken before the first byte is read.
        wait_until_read(resumable)
        hand_back_file(agent.socket_path.parent, agent.process.pid).touch()
        answer = HTTPResponse(resumable)
        answer.begin()
        problem = json.loads(answer.read())
        assert (answer.status, problem["type"].rpartition(":")[2]) == (503, "throttled")
        assert answer.headers["Retry-After"] == "1"
        assert "another process of the node takes over" in problem["detail"]
        wait_until(lambda: agent.status()["slots"]["used"] == 1)

        whole.sendall(CONTENT[100:256])
        stored = HTTPResponse(whole)
        stored.begin()
        assert stored.status == 201
        assert json.loads(stored.read())["sha256"] == hashlib.sha256(CONTENT[:256]).hexdigest()
    hand_back_file(agent.socket_path.parent, agent.process.pid).unlink()

    # As if it were the other process by now: the upload goes on where it was.
    told = requests.head(f"{agent.url}{place}", headers=headers, timeout=60)
    offset = int(told.headers["Upload-Offset"])
    assert offset == 1000
    rest = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
    ended = requests.patch(
        f"{agent.url}{place}", CONTENT[offset:], headers={**headers, **rest}, timeout=60
    )
    assert ended.status_code == 204


def _patch(agent: Agent, place: str, headers: dict[str, str]) -> socket.socket:
    told = {
        "Host": "agent",
        "Content-Length": str(len(CONTENT)),
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": "0",
        **headers,
    }
    lines = [f"PATCH {place} HTTP/1.1", *(f"{key}: {value}" for key, value in told.items())]
    connection = socket.create_connection(("127.0.0.1", agent.port), timeout=60)
    connection.sendall("\r\n".join([*lines, "", ""]).encode())
    return connection
