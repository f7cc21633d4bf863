"""A process that drains hands back what goes on elsewhere, and finishes the rest."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import requests

from portside.serving.status import hand_back_file
from tests.support.agent.process import Agent
from tests.support.loopback import wait_until, wait_until_read

CONTENT = bytes(range(256)) * 20


def test_resumable_uploads_are_handed_back_and_whole_ones_finished(agent: Agent) -> None:
    place, headers = _begun(agent)
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


def test_a_newer_request_ends_an_older_one_of_a_process_that_drains(
    agent: Agent, tmp_path: Path
) -> None:
    place, headers = _begun(agent)
    with _beside(agent, tmp_path) as new, _patch(agent, place, headers) as hangs:
        hangs.sendall(CONTENT[:1000])
        new.wait_for_uploads(1)
        wait_until_read(hangs)

        told = requests.head(f"{new.url}{place}", headers=headers, timeout=60)
        assert (told.status_code, told.headers["Upload-Offset"]) == (200, "1000")
        answer = HTTPResponse(hangs)
        answer.begin()
        assert answer.status == 503
        rest = {"Upload-Offset": "1000", "Content-Type": "application/offset+octet-stream"}
        ended = requests.patch(
            f"{new.url}{place}", CONTENT[1000:], headers={**headers, **rest}, timeout=60
        )
        assert ended.status_code == 204
        assert [path.read_bytes() for path in new.visible_files()] == [CONTENT]


def _begun(agent: Agent) -> tuple[str, dict[str, str]]:
    """The path of an upload without a byte, and the headers by which its client goes on."""
    headers = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {agent.mint(name='a.bin')}"}
    created = requests.post(
        f"{agent.url}/api/v1/uploads",
        headers={**headers, "Upload-Length": str(len(CONTENT))},
        timeout=60,
    )
    place = created.headers["Location"].removeprefix(agent.url)
    return place, headers


@contextmanager
def _beside(agent: Agent, home: Path) -> Iterator[Agent]:
    """The process that comes to serve while this one has still something to do."""
    socket_path = agent.socket_path.with_name("new.sock")
    new = Agent(home, agent.root, agent.sizing, socket_path=socket_path)
    shutil.copy(agent.home / "node.key", home)
    new.start()
    try:
        yield new
    finally:
        new.kill()


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
