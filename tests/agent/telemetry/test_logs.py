"""One id from nginx to agent to worker in every line, JSON throughout, and no token anywhere."""

from __future__ import annotations

import base64
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from deploys.components.agent import gunicorn_settings
from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook
from tests.support import nginx_process
from tests.support.agent.process import Agent, first_line
from tests.support.agent.stored_files import access, attributes_of, data_of, download, flip_a_bit
from tests.support.agent.worker_process import Worker, add_hooks
from tests.support.logs import entries_of, text_of, whole_lines_of
from tests.support.nginx_process import Nginx

UPLOAD = "/api/internal/upload"
CLUSTER = "{name: test, domain: portside.test, nodes: {s01: {}}, uploads: {private: [private]}}"


@pytest.fixture
def node() -> StorageNode:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    return StorageNode("s01", parse(CLUSTER), found, sizing.size(machine), "root")


class WholeNode:
    """nginx, agent and worker of one node, and everything they log."""

    def __init__(self, home: Path, agent: Agent, nginx: Nginx, worker: Worker) -> None:
        self.home = home
        self.agent = agent
        self.nginx = nginx
        self.worker = worker

    def log(self) -> str:
        """Everything that was logged, nginx's error log included."""
        files = [self.agent.log, self.worker.log, self.home / "access.log", self.home / "error.log"]
        return "".join(text_of(file) for file in files if file.exists())

    def lines(self, file: Path) -> list[dict[str, Any]]:
        """A log that is JSON from its first line to the last that is whole."""
        return [json.loads(line) for line in whole_lines_of(file)]


@pytest.fixture
def whole_node(
    tmp_path: Path, node: StorageNode, monkeypatch: pytest.MonkeyPatch
) -> Iterator[WholeNode]:
    place = tmp_path / "node"
    place.mkdir()
    conf = tmp_path / "gunicorn.conf.py"
    conf.write_text(gunicorn_settings(node))
    monkeypatch.setenv("GUNICORN_CMD_ARGS", f"--config {conf}")
    path = nginx_process.write(configuration(node), place)
    agent = Agent(tmp_path, root=place / "data", socket_path=place / "agent.sock")
    add_hooks(agent, Hook(namespace="*", command=("/bin/false",)))
    agent.start()
    nginx, worker = Nginx(path), Worker(agent)
    yield WholeNode(place, agent, nginx, worker)
    worker.kill()
    nginx.stop()
    agent.kill()


def test_one_id_leads_from_nginx_by_the_agent_to_the_worker(whole_node: WholeNode) -> None:
    agent, worker = whole_node.agent, whole_node.worker
    answer, body = whole_node.nginx.ask(
        "PUT", f"{UPLOAD}/a.bin?x=1", {"Authorization": f"Bearer {agent.mint()}"}, b"content"
    )
    stored = StoredFile.model_validate_json(body)
    request_id = answer.headers["X-Request-ID"]
    assert json.loads(attributes_of(agent, stored).read_text())["request_id"] == request_id
    worker.start()
    worker.wait_for(lambda: worker.logged("delivery failed"))
    worker.wait_for(lambda: worker.report().scrub.files_verified == 1)
    flip_a_bit(data_of(agent, stored))
    worker.change("UPDATE files SET verified_at = 1")
    worker.wait_for(lambda: worker.logged("file quarantined"))

    of_nginx = [
        line for line in whole_node.lines(whole_node.home / "access.log") if line["path"] != "/"
    ]
    assert [line["request"] for line in of_nginx] == [request_id]
    of_agent = [line for line in whole_node.lines(agent.log) if line.get("request_id")]
    assert {line["event"] for line in of_agent} >= {"upload committed", "request answered"}
    ours = [line for line in of_agent if line["request_id"] == request_id]
    (answered,) = [line for line in ours if line["event"] == "request answered"]
    assert answered["seconds"] >= 0
    del answered["seconds"], answered["timestamp"]
    assert answered == {
        "event": "request answered",
        "method": "PUT",
        "path": f"{UPLOAD}/a.bin",
        "status": 201,
        "outcome": "ok",
        "received": 7,
        "level": "info",
        "request_id": request_id,
        "trace_id": request_id,
    }
    for event in ("delivery failed", "stored file is damaged", "file quarantined"):
        assert [line["request_id"] for line in worker.logged(event)][:1] == [request_id], event


def test_a_refusal_before_the_body_is_one_line_with_its_reason(whole_node: WholeNode) -> None:
    answer, _ = whole_node.nginx.ask(
        "PUT", f"{UPLOAD}/a.bin", {"Authorization": "Bearer rubbish"}, b"content"
    )
    assert answer.status == 401
    request_id = answer.headers["X-Request-ID"]
    lines = [
        line
        for line in whole_node.lines(whole_node.agent.log)
        if line.get("request_id") == request_id
    ]
    assert [(line["event"], line["status"], line["outcome"]) for line in lines] == [
        ("request answered", 401, "token-malformed")
    ]
    assert (lines[0]["method"], lines[0]["path"]) == ("PUT", f"{UPLOAD}/a.bin")


def test_ids_are_nginxs_or_the_agents_own(agent: Agent) -> None:
    given = "0123456789abcdef" * 2
    url = f"{agent.url}{UPLOAD}"
    assert requests.head(url, headers={"X-Request-ID": given}, timeout=60).headers[
        "X-Request-ID"
    ] == (given)
    for wrong in ({}, {"X-Request-ID": "x"}, {"X-Request-ID": "a" * 500}):
        made = requests.head(url, headers=wrong, timeout=60).headers["X-Request-ID"]
        assert re.fullmatch(r"[0-9a-f]{32}", made)


def test_uploads_have_their_lines_and_probes_that_are_answered_well_have_none(
    shared_agent: Agent,
) -> None:
    for method in ("HEAD", "OPTIONS"):
        for path in (UPLOAD, f"{UPLOAD}/logged.bin"):
            assert _ask_agent(shared_agent, method, path, {}, b"") == 204
    assert shared_agent.put("logged.bin", bytes(5)).status_code == 201
    assert shared_agent.put("logged.png", b"notes").status_code == 415
    lines = entries_of(shared_agent.log)
    answered = [line["method"] for line in lines if line.get("path") == f"{UPLOAD}/logged.bin"]
    assert answered == ["PUT"]
    begun = [line for line in lines if line.get("name") == "logged.bin"]
    refused = [line for line in lines if line.get("name") == "logged.png"]
    told = [(each["event"], each["bytes"], each["total"], each["owner"]) for each in begun]
    assert told == [("upload begun", 0, 5, "user-7")]
    assert [each["event"] for each in refused] == ["upload begun", "upload broken off"]
    assert refused[1]["reason"].startswith("the content is plain text, not a PNG picture")
    (ready,) = [line for line in lines if line["event"].startswith("data directory ready")]
    assert (ready["path"], ready["writable"]) == (str(shared_agent.root), True)
    (counted,) = [line for line in lines if line["event"] == "stored files counted"]
    assert (counted["files"], counted["bytes"], counted["newest"]) == (0, 0, None)


def _form(name: str, value: str, filename: str) -> tuple[bytes, dict[str, str]]:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\nx\r\n'
        "--b--\r\n"
    )
    return body.encode(), {"Content-Type": "multipart/form-data; boundary=b"}


def _everywhere(agent: Agent, token: str) -> Iterator[tuple[str, str, dict[str, str], bytes]]:
    """Requests with a token where it belongs and wherever else somebody may put it."""
    bearer = {"Authorization": f"Bearer {agent.mint()}"}
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "3"}
    name = f"filename {base64.b64encode(token.encode()).decode()}"
    form, kind = _form(token, token, f"{token}.bin")
    yield "PUT", f"{UPLOAD}/a.bin", {"Authorization": f"Bearer {token}"}, b"x"
    yield "PUT", f"{UPLOAD}/a.bin", {"Authorization": token}, b"x"
    yield "PUT", f"{UPLOAD}/a.bin?token={token}", {}, b"x"
    yield "PUT", f"{UPLOAD}/{token}.bin", bearer, b"x"
    yield "PUT", f"{UPLOAD}/{token}", bearer, b"x"
    yield "PUT", f"{UPLOAD}/a.bin", {**bearer, "Repr-Digest": token}, b"x"
    yield "PUT", f"{UPLOAD}/a.bin", {**bearer, "X-Request-ID": token}, b"x"
    yield "POST", UPLOAD, {**bearer, **kind}, form
    yield "POST", UPLOAD, {**bearer, "Content-Type": f"multipart/form-data; boundary={token}"}, form
    yield (
        "POST",
        "/api/v1/uploads",
        {**bearer, **tus, "Upload-Metadata": name},
        b"",
    )
    yield "POST", "/api/v1/uploads", {**bearer, **tus, "Upload-Metadata": token}, b""
    yield "POST", "/api/v1/uploads", {**bearer, **tus, "Upload-Concat": f"final;{token}"}, b""
    yield "POST", "/api/v1/uploads", {**bearer, "Tus-Resumable": token}, b""
    yield "PATCH", f"/api/v1/uploads/{token}", {**bearer, **tus, "Upload-Offset": token}, b"x"
    yield "GET", f"/api/v1/files?cursor={token}&token={token}", access(agent), b""
    yield "GET", f"/api/v1/files/{token}", {}, b""
    yield "GET", f"/api/v1/files/{token}/content?token={token}", {}, b""
    yield "GET", f"/uploads/private/{token}?token={token}", {}, b""
    yield "GET", f"/{token}", {"Referer": f"https://a.b/?token={token}", "Cookie": token}, b""


def test_no_token_is_in_any_log_wherever_it_was_sent(whole_node: WholeNode) -> None:
    agent = whole_node.agent
    valid, torn = agent.mint(), agent.mint()[:-9]
    secrets = [valid, torn, download(agent, "private/x"), agent.mint(exp=1)]
    for token in secrets:
        for method, path, headers, body in _everywhere(agent, token):
            whole_node.nginx.ask(method, path, headers, body)
            _ask_agent(agent, method, path, headers, body)
    # What gunicorn can't read it quotes: a header without its colon.
    with socket.create_connection(("127.0.0.1", agent.port), timeout=60) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nAuthorization Bearer {valid}\r\n\r\n".encode())
        assert first_line(connection).startswith(b"HTTP/1.1 400")
    worker = whole_node.worker
    worker.start()
    worker.wait_for(lambda: worker.logged("delivery failed"))
    # While the agent is gone nginx has most to say.
    agent.kill()
    for token in secrets:
        for method, path, headers, body in _everywhere(agent, token):
            whole_node.nginx.ask(method, path, headers, body)

    log = whole_node.log()
    assert "Invalid" in log
    assert log.count("request answered") > 50
    for token in secrets:
        header, claims, signature = token.split(".")
        for part in (header, claims, signature[:40]):
            assert part not in log
            assert base64.b64encode(part.encode()).decode()[:40] not in log


def _ask_agent(agent: Agent, method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    sent = requests.request(method, agent.url + path, headers=headers, data=body, timeout=60)
    return sent.status_code


def test_every_line_of_the_agent_is_json_gunicorns_as_well(whole_node: WholeNode) -> None:
    with socket.create_connection(("127.0.0.1", whole_node.agent.port), timeout=60) as connection:
        connection.sendall(b"rubbish\r\n\r\n")
        assert first_line(connection).startswith(b"HTTP/1.1 400")
    whole_node.agent.put("a.bin", b"x")
    lines = whole_node.lines(whole_node.agent.log)
    assert {line.get("logger") for line in lines} == {"gunicorn.error", None}
    for line in lines:
        assert {"event", "level", "timestamp"} <= line.keys()
