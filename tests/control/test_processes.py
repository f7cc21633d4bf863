"""The control plane as it runs: gunicorn and worker, used by an app and its nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests

from control import cli
from control.catalogue.counters import differences
from control.db.database import Database
from control.settings import CONFIG_VARIABLE
from portside.wire.control import Session
from tests.support.collector import Collector
from tests.support.control.postgresql import PostgresqlServer
from tests.support.control.process import PATIENCE, ControlPlane, slug_of
from tests.support.logs import text_of


@pytest.fixture
def plane(tmp_path: Path, database_url: str) -> Iterator[ControlPlane]:
    plane = ControlPlane(tmp_path, database_url, dead_after=600)
    yield plane
    plane.end()


class Uploads(BaseHTTPRequestHandler):
    """What answers at a node's `upload_api_url`: 204, as nginx and the agent do."""

    def do_HEAD(self) -> None:
        self.send_response(204 if self.path == "/api/internal/upload" else 404)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def uploads_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Uploads)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def beats(plane: ControlPlane, url: str, node_id: str) -> requests.Response:
    token, body = plane.nodes.signed(plane.nodes.heartbeat(node_id, datetime.now(UTC)))
    return requests.post(
        f"{url}/api/v1/nodes/{node_id}/heartbeat",
        data=body,
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )


def test_an_app_uploads_by_way_of_gunicorn_and_worker(
    plane: ControlPlane, uploads_url: str
) -> None:
    """Two nodes that answer, and one that doesn't: it gets nothing."""
    facts = {
        name: {"upload_api_url": f"{uploads_url}/api/internal/upload"} for name in ("s01", "s02")
    }
    facts["s03"] = {"upload_api_url": f"{uploads_url}/wrong"}
    (plane.home / "roster.json").write_text(
        plane.nodes.roster(facts=facts).model_dump_json(exclude_none=True)
    )
    url = plane.start_web()
    worker = plane.start_worker()
    key = plane.run("app", "create", "shop", "--scope", "upload,read").stdout.strip()
    auth = {"Authorization": f"Bearer {key}"}

    def nodes() -> dict[str, str]:
        answer = requests.get(f"{url}/api/v1/nodes", headers=auth, timeout=30)
        return {
            node["node_id"]: "; ".join(node["reasons"]) or "healthy"
            for node in (answer.json()["nodes"] if answer.ok else ())
        }

    plane.wait_for(lambda: len(nodes()) == 3)
    for node_id in plane.nodes.keys:
        assert beats(plane, url, node_id).status_code == 200
    plane.wait_for(
        lambda: nodes()["s01"] == nodes()["s02"] == "healthy" and "404" in nodes()["s03"]
    )
    wish = {"owner": "user-7", "name": "a.iso", "size": 1000}
    answer = requests.post(f"{url}/api/v1/upload/sessions", json=wish, headers=auth, timeout=30)
    session = Session.model_validate_json(answer.text)
    assert {session.node_id, *session.replicas} == {"s01", "s02"}
    receipt = plane.nodes.receipt_of(session, datetime.now(UTC))
    for _ in range(2):
        taken = requests.post(f"{url}/api/v1/files", json={"receipt": receipt}, timeout=30)
        assert (taken.status_code, taken.json()["state"]) == (200, "replicating")
    found = requests.get(
        f"{url}/api/v1/files/{session.file_id}/url",
        headers=auth,
        allow_redirects=False,
        timeout=30,
    )
    assert found.status_code == 302
    worker.terminate()
    assert worker.wait(timeout=60) == 0
    assert session.token not in text_of(plane.log)
    assert key not in text_of(plane.log)


def test_a_session_is_found_by_its_senders_trace_in_log_and_collector(tmp_path: Path) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with Collector() as collector:
        url = f"sqlite:///{tmp_path}/control.sqlite"
        plane = ControlPlane(tmp_path, url, dead_after=600, otlp=collector.url)
        try:
            assert plane.run("migrate").returncode == 0
            base = plane.start_web()
            key = plane.run("app", "create", "shop", "--scope", "upload").stdout.strip()
            answer = requests.post(
                f"{base}/api/v1/upload/sessions",
                json={"owner": "user-7", "name": "a.iso", "size": 1000},
                headers={
                    "Authorization": f"Bearer {key}",
                    "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
                },
                timeout=30,
            )
            # No node has ever sent a heartbeat.
            assert (answer.status_code, slug_of(answer)) == (503, "no-node")
            found = collector.wait_for(lambda spans: len(spans) == 2)
            metrics = requests.get(f"{base}/metrics", timeout=30).text
        finally:
            plane.end()
    opened, request = sorted(found, key=lambda span: span.kind)
    assert {span.traceId for span in found} == {trace_id}
    assert (opened.name, opened.parentSpanId) == ("session", request.spanId)
    assert (request.name, request.parentSpanId) == (
        "POST /api/v1/upload/sessions",
        "00f067aa0ba902b7",
    )
    assert request.said["error.type"] == opened.said["error.type"] == "no-node"
    assert request.said["url.path"] == "/api/v1/upload/sessions"
    assert request.status.code == 2
    assert f'"trace_id": "{trace_id}"' in text_of(plane.log)
    assert 'portside_control_spans_total{outcome="exported"} 2.0' in metrics
    assert key not in b"".join(collector.bodies).decode()


def test_commands_say_what_is_wrong(
    plane: ControlPlane, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, plane.environment[CONFIG_VARIABLE])

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return code, *capsys.readouterr()

    assert run("migrate")[1].startswith("schema ")
    assert run("migrate", "--restored")[0] == 0
    assert "in order" in run("check", "--counters")[1]
    _, key, said = run("app", "create", "shop")
    assert key.startswith("portside_")
    assert key.count("\n") == 1
    assert "shop may delete, read, upload" in said
    code, said, wrong = run("app", "create", "shop")
    assert (code, said) == (1, "")
    assert "already" in wrong
    assert "shop\tdelete,read,upload\t" in run("app", "list")[1]
    assert run("app", "revoke", "shop")[0] == 0
    assert "shop\trevoked\t" in run("app", "list")[1]
    assert "there is no app" in run("app", "revoke", "nobody")[2]
    assert run("app", "create", "Not/Good")[0] == 1
    assert run("app", "create", "a", "--scope", "root")[0] == 2
    assert run("app", "create", "two", "--scope", "read", "--scope", "upload")[0] == 0
    assert run("app", "create", "three", "--scope", "Read, admin", "--scope", "read")[0] == 0
    listed = run("app", "list")[1]
    assert "two\tread,upload\t" in listed
    assert "three\tadmin,read\t" in listed
    (plane.home / "issuer.key").write_text("{}")
    assert "no private key" in run("check")[2]
    (plane.home / "control.toml").write_text("factor = 0\n")
    assert "cluster: Field required" in run("check")[2]


def test_two_processes_on_postgresql_lose_and_double_nothing(
    tmp_path: Path,
    postgresql: PostgresqlServer,
    postgresql_database: Database,
    uploads_url: str,
) -> None:
    """Sessions and their receipts, each twice; then the database goes away and comes back."""
    plane = ControlPlane(
        tmp_path,
        postgresql.dsn("portside"),
        sessions_per_owner=100_000,
        sessions_per_address=100_000,
        dead_after=600,
    )
    facts = {
        name: {"upload_api_url": f"{uploads_url}/api/internal/upload"} for name in plane.nodes.keys
    }
    (plane.home / "roster.json").write_text(
        plane.nodes.roster(facts=facts).model_dump_json(exclude_none=True)
    )
    try:
        url = plane.start_web(workers=2)
        key = plane.run("app", "create", "shop", "--scope", "upload,read").stdout.strip()
        plane.start_worker()
        auth = {"Authorization": f"Bearer {key}"}

        def all_beat() -> None:
            for node_id in plane.nodes.keys:
                plane.wait_for(partial(_is_heard, plane, url, node_id))

        all_beat()

        def uploads(number: int) -> str:
            wish = {"owner": f"user-{number}", "size": 1000}
            headers = {**auth, "Idempotency-Key": f"upload-{number}"}
            answer = _taken(f"{url}/api/v1/upload/sessions", wish, headers)
            session = Session.model_validate_json(answer.text)
            receipt = plane.nodes.receipt_of(session, datetime.now(UTC))
            for _ in range(2):
                _taken(f"{url}/api/v1/files", {"receipt": receipt}, {})
            return session.file_id

        with ThreadPoolExecutor(8) as threads:
            opened = list(threads.map(uploads, range(24)))
        postgresql.stop()
        try:
            away = requests.get(f"{url}/api/v1/files", headers=auth, timeout=60)
            assert (away.status_code, slug_of(away)) == (503, "database-unavailable")
        finally:
            postgresql.start()
        all_beat()
        with ThreadPoolExecutor(4) as threads:
            assert all(threads.map(lambda each: _is_known(url, auth, each), opened))
        assert postgresql_database.read(differences) == []
    finally:
        plane.end()


def _is_heard(plane: ControlPlane, url: str, node_id: str) -> bool:
    return beats(plane, url, node_id).ok


def _taken(url: str, body: dict[str, object], headers: dict[str, str]) -> requests.Response:
    """A process whose snapshot is from before the nodes reported says so for a second at most."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = requests.post(url, json=body, headers=headers, timeout=60)
        if answer.ok:
            return answer
        assert slug_of(answer) in ("no-node", "token-unknown-key"), answer.text
        assert time.monotonic() < deadline, answer.text


def _is_known(url: str, auth: dict[str, str], file_id: str) -> bool:
    answer = requests.get(f"{url}/api/v1/files/{file_id}", headers=auth, timeout=60)
    return answer.ok and answer.json()["state"] in ("committed", "replicating", "safe")
