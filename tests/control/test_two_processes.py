"""Two control processes and two workers on one PostgreSQL: a history of what they did, checked.

Sessions, heartbeats and a move go on at the same time, each node reporting to both processes at
once; meanwhile the database goes away and comes back, and a worker is killed.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import requests
from sqlalchemy import select

from control.catalogue.counters import differences
from control.db.database import Database, DatabaseUnavailable
from control.db.models import Copy, File, UploadSession, Work
from portside.wire.control import Session
from portside.wire.heartbeat import HeartbeatAnswer, Lease, WorkDone
from tests.support.control.postgresql import PostgresqlServer
from tests.support.control.process import PATIENCE, ControlPlane
from tests.support.logs import text_of

FILES = 24
FACTOR = 2


class Uploads(BaseHTTPRequestHandler):
    """What answers at a node's `upload_api_url`."""

    def do_HEAD(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def uploads_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Uploads)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


class History:
    """What nodes were told to do and reported on, in the order in which it happened to them.

    A piece of work is told anew, with another end of its lease, only to whom nobody else had been
    told it: each time it was given out before must have been reported on by then.
    """

    def __init__(self) -> None:
        self.held_twice: list[str] = []
        self.leases = 0
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str, str], set[tuple[str, str]]] = {}
        self._seen: set[tuple[str, str]] = set()

    def told(self, node_id: str, lease: Lease) -> None:
        """An answer listed this lease; all that a node holds are listed again and again."""
        what = (lease.kind, lease.file_id, lease.target or node_id)
        grant = (lease.lease_id, lease.until.isoformat())
        with self._lock:
            if grant in self._seen:
                return
            self._seen.add(grant)
            self.leases += 1
            others = self._open.setdefault(what, set())
            self.held_twice += [f"{grant} while {each}: {what}" for each in others]
            others.add(grant)

    def reported(self, node_id: str, lease: Lease) -> None:
        """The node is about to tell what became of this lease."""
        what = (lease.kind, lease.file_id, lease.target or node_id)
        with self._lock:
            self._open[what].discard((lease.lease_id, lease.until.isoformat()))


class Cluster:
    """Nodes that report to two control processes, and an app that uploads."""

    def __init__(self, plane: ControlPlane, urls: list[str], key: str) -> None:
        self.plane = plane
        self.urls = urls
        self.auth = {"Authorization": f"Bearer {key}"}
        self.stopping = threading.Event()
        self.problems: list[str] = []
        self.history = History()
        self.opened: list[Session] = []
        self._lock = threading.Lock()
        self.disks: dict[str, set[str]] = {node_id: set() for node_id in plane.nodes.keys}

    def node_lives(self, node_id: str, url: str) -> None:
        """One of a node's two reporters: each does what it is told, so that much is told twice."""
        held: tuple[Lease, ...] = ()
        done: tuple[WorkDone, ...] = ()
        while not self.stopping.is_set():
            for lease in held:
                self.history.reported(node_id, lease)
            beat = self.plane.nodes.heartbeat(node_id, datetime.now(UTC), work=done)
            token, body = self.plane.nodes.signed(beat)
            answer = self.ask(
                "POST",
                f"{url}/api/v1/nodes/{node_id}/heartbeat",
                data=body,
                headers={"Authorization": f"Bearer {token}"},
            )
            if answer is not None and answer.status_code == 200:
                told = HeartbeatAnswer.model_validate_json(answer.content)
                held = told.work
                for lease in held:
                    self.history.told(node_id, lease)
                done = tuple(self._do(node_id, lease) for lease in held)
            elif answer is not None and answer.status_code not in (409, 503):
                self.problems.append(f"{node_id}: {answer.status_code} {answer.text}")
            self.stopping.wait(0.2)

    def _do(self, node_id: str, lease: Lease) -> WorkDone:
        with self._lock:
            if lease.kind == "delete":
                self.disks[node_id].discard(lease.file_id)
                return WorkDone(lease_id=lease.lease_id, outcome="done")
            if lease.file_id not in self.disks[node_id]:
                return WorkDone(lease_id=lease.lease_id, outcome="missing")
            assert lease.target is not None
            self.disks[lease.target].add(lease.file_id)
        receipt = self.plane.nodes.receipt(
            lease.target,
            datetime.now(UTC),
            file_id=lease.file_id,
            path=lease.path,
            size=lease.size,
            sha256=lease.sha256,
        )
        return WorkDone(lease_id=lease.lease_id, outcome="done", receipt=receipt)

    def app_uploads(self, number: int) -> None:
        """A session, its file on two nodes, both receipts twice: each by another process."""
        wish = {"owner": f"user-{number}", "size": 1000 + number}
        headers = {**self.auth, "Idempotency-Key": f"upload-{number}"}
        answer = self.insist("/api/v1/upload/sessions", number, wish, headers)
        session = Session.model_validate_json(answer.content)
        size = 1000 + number
        for node_id in (session.node_id, *session.replicas):
            with self._lock:
                self.disks[node_id].add(session.file_id)
            receipt = self.plane.nodes.receipt_of(session, datetime.now(UTC), node_id, size=size)
            for way in (0, 1):
                self.insist("/api/v1/files", number + way, {"receipt": receipt}, {})
        self.opened.append(session)

    def insist(
        self, path: str, number: int, body: dict[str, Any], headers: dict[str, str]
    ) -> requests.Response:
        """Ask until it is granted: a process without its database says so and is asked again."""
        deadline = time.monotonic() + PATIENCE
        while True:
            url = self.urls[number % len(self.urls)]
            answer = self.ask("POST", f"{url}{path}", json=body, headers=headers)
            if answer is not None and answer.ok:
                return answer
            assert time.monotonic() < deadline, answer and answer.text
            time.sleep(0.1)

    def ask(self, method: str, url: str, **arguments: Any) -> requests.Response | None:
        """A request; None when the connection broke."""
        with suppress(requests.ConnectionError):
            return requests.request(method, url, timeout=PATIENCE, **arguments)
        return None


class Watcher:
    """Looks again and again whether a file that had enough copies has fewer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._safe: set[str] = set()
        self.samples = 0
        self.fallen: set[str] = set()

    def watch(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            with suppress(DatabaseUnavailable):
                rows = self._database.read(
                    lambda session: session.execute(select(File.file_id, File.present)).all()
                )
                self.samples += 1
                self._safe |= {file_id for file_id, present in rows if present >= FACTOR}
                short = {file_id for file_id, present in rows if present < FACTOR}
                self.fallen |= short & self._safe
            stopping.wait(0.02)


def _lines(log: str) -> Iterator[dict[str, Any]]:
    """The objects in a log. Processes that share it may write two of them into one line."""
    decoder = json.JSONDecoder()
    for line in log.splitlines():
        start = line.find("{")
        while start >= 0:
            try:
                found, start = decoder.raw_decode(line, start)
            except ValueError:
                # Nothing of ours: gunicorn's own words.
                break
            yield found
            start = line.find("{", start)


def granted_twice(log: str, least: int) -> list[str]:
    """Attempts at a piece of work that were given out more than once, by the processes' own logs.

    At `least` so many were given out. Lines are of what was committed. Their order proves nothing:
    each process writes its own.
    """
    granted = Counter(
        (each["lease"], each["attempt"])
        for each in _lines(log)
        if each.get("event") == "lease granted"
    )
    assert len(granted) >= least
    return [f"{lease}, attempt {attempt}" for (lease, attempt), n in granted.items() if n > 1]


def test_an_attempt_that_was_given_out_twice_is_found_in_a_log() -> None:
    """The check itself can fail."""
    leases = [(f"{each}", 1) for each in range(FILES)] + [("a", 1), ("a", 2), ("b", 1), ("b", 1)]
    log = "\n".join(
        json.dumps({"event": "lease granted", "lease": lease, "attempt": attempt})
        for lease, attempt in leases
    )
    assert granted_twice(log, FILES) == ["b, attempt 1"]


def test_a_lease_that_two_hold_is_found_in_the_history() -> None:
    """So can this one."""
    history = History()
    first, second, third = (
        Lease(
            lease_id=lease_id,
            kind="delete",
            file_id="f" * 32,
            path=PurePosixPath("isos/a.iso"),
            size=1,
            sha256="0" * 64,
            until=datetime(2026, 1, 1, 0, minute, tzinfo=UTC),
        )
        for lease_id, minute in (("a", 1), ("a", 2), ("b", 3))
    )
    history.told("s01", first)
    history.told("s01", first)
    history.reported("s01", first)
    history.told("s01", second)
    assert history.held_twice == []
    history.told("s01", third)
    assert len(history.held_twice) == 1
    assert "'b'" in history.held_twice[0]


def test_no_lease_is_held_twice_no_reservation_lost_and_no_file_short_of_copies(
    tmp_path: Path,
    postgresql: PostgresqlServer,
    postgresql_database: Database,
    uploads_url: str,
) -> None:
    plane = ControlPlane(
        tmp_path,
        postgresql.dsn("portside"),
        factor=FACTOR,
        dead_after=600,
        sessions_per_owner=100_000,
        sessions_per_address=100_000,
    )
    facts = {each: {"upload_api_url": f"{uploads_url}/upload"} for each in plane.nodes.keys}
    (plane.home / "roster.json").write_text(
        plane.nodes.roster(facts=facts).model_dump_json(exclude_none=True)
    )
    watcher = Watcher(postgresql_database)
    threads: list[threading.Thread] = []
    cluster = None
    try:
        urls = [plane.start_web(), plane.start_web()]
        first_worker = plane.start_worker()
        plane.start_worker()
        key = plane.run("app", "create", "shop", "--scope", "admin,upload").stdout.strip()
        cluster = Cluster(plane, urls, key)

        def start(target: Any, *arguments: Any) -> threading.Thread:
            thread = threading.Thread(target=target, args=arguments)
            threads.append(thread)
            thread.start()
            return thread

        plane.wait_for(lambda: _knows_nodes(cluster))
        for node_id in plane.nodes.keys:
            for url in urls:
                start(cluster.node_lives, node_id, url)
        start(watcher.watch, cluster.stopping)
        uploads = [start(_uploads, cluster, first) for first in range(4)]
        wish = {"source": "s01", "target": "s02"}
        moves = [cluster.insist("/api/v1/moves", 0, wish, cluster.auth).json()["move_id"]]
        plane.wait_for(lambda: _progress(cluster, moves[0])["progress"]["done"] > 0)
        postgresql.stop()
        os.killpg(first_worker.pid, signal.SIGKILL)
        postgresql.start()
        plane.start_worker()
        for each in uploads:
            each.join(PATIENCE)
            assert not each.is_alive()
        plane.wait_for(lambda: _progress(cluster, moves[0])["state"] == "done")
        plane.wait_for(lambda: _is_settled(postgresql_database))
        moved = _progress(cluster, moves[0])["progress"]["done"]
        cluster.stopping.set()
        for each in threads:
            each.join(PATIENCE)
        assert cluster.problems == []
        assert cluster.history.held_twice == []
        # Each file that was moved has left its source by a lease; how many more there were, chance
        # decides: a source may have made the copy by itself before it was told to.
        assert cluster.history.leases >= moved > 0
        assert granted_twice(text_of(plane.log), moved) == []
        assert postgresql_database.read(differences) == []
        assert watcher.fallen == set()
        assert watcher.samples > 10
        files = postgresql_database.read(lambda session: session.scalars(select(File)).all())
        assert {each.file_id for each in files} == {each.file_id for each in cluster.opened}
        assert len(files) == FILES
        for file in files:
            holders = [n for n, disk in cluster.disks.items() if file.file_id in disk]
            assert len(holders) == FACTOR
    finally:
        if cluster is not None:
            cluster.stopping.set()
        for each in threads:
            each.join(PATIENCE)
        plane.end()


def _uploads(cluster: Cluster, first: int) -> None:
    for number in range(first, FILES, 4):
        cluster.app_uploads(number)


def _knows_nodes(cluster: Cluster) -> bool:
    answer = cluster.ask("GET", f"{cluster.urls[0]}/api/v1/nodes", headers=cluster.auth)
    return answer is not None and answer.ok and len(answer.json()["nodes"]) == 3


def _progress(cluster: Cluster, move_id: str) -> dict[str, Any]:
    answer = cluster.ask("GET", f"{cluster.urls[1]}/api/v1/moves/{move_id}", headers=cluster.auth)
    if answer is None or not answer.ok:
        return {"state": "", "progress": {"done": 0}}
    found: dict[str, Any] = answer.json()
    return found


def _is_settled(database: Database) -> bool:
    """Every file has its copies, all sessions have their file, and nothing is left to do."""
    under_way = (
        select(UploadSession.session_id).where(UploadSession.state == "open"),
        select(File.file_id).where(File.present != FACTOR),
        select(Copy.file_id).where(Copy.state.in_(("copying", "deleting"))),
        select(Work.lease_id).where(Work.state.in_(("waiting", "leased"))),
    )
    return database.read(
        lambda session: all(session.scalars(each.limit(1)).first() is None for each in under_way)
    )
