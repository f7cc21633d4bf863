"""A control plane on loopback, HTTP or HTTPS, that verifies every heartbeat as the real one does.

What it answers is the test's to say. Nothing here is patient with a heartbeat that doesn't verify:
it is answered with 401 and kept apart, in `refused`.
"""

from __future__ import annotations

import secrets
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

from portside.inventory import EMPTY, toggled
from portside.tokens import TokenRefused, verify_heartbeat
from portside.wire.control import FileReceipt
from portside.wire.heartbeat import (
    Heartbeat,
    HeartbeatAnswer,
    Lease,
    LifetimeOrder,
    NodeHold,
    Roster,
)
from portside.wire.inventory import (
    BelievedFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)
from portside.wire.keys import Keyset
from tests.support.loopback import reserved_port

PATIENCE = 60.0
"""Seconds for anything that a node does by itself within few."""

Handler = Callable[[BaseHTTPRequestHandler], None]


class ControlDouble:
    """Listens once its context is entered."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.keys = Keyset()
        self.heartbeats: list[Heartbeat] = []
        self.refused: list[str] = []
        self.receipts: list[str] = []
        self.roster: Roster | None = None
        self.revoked: tuple[str, ...] = ()
        self.holds: tuple[NodeHold, ...] = ()
        """Told with every answer until they are confirmed."""
        self.lifetimes: tuple[LifetimeOrder, ...] = ()
        """As `holds`."""
        self.next_in = 0.2
        self.believed: dict[str, PurePosixPath] | None = None
        """Files that the node should have, and where; None says nothing of it."""
        self.alive: set[str] = set()
        """Files that it believes to be alive although somebody may have deleted them."""
        self.learned_at: datetime | None = None
        self.buried: list[HeldFiles] = []
        self.pages: list[InventoryPage] = []
        self.held: list[HeldFiles] = []
        self.misbehave: Handler | None = None
        """What is done instead of answering, once the heartbeat is kept."""
        self.ahead = 0.0
        """Seconds by which its clock is ahead."""
        self._ticket = secrets.token_hex(8)
        self._leases: list[Lease] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", reserved_port(self)), _handler_of(self))
        self._server.daemon_threads = True
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> ControlDouble:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def lease(self, *leases: Lease) -> None:
        """Hand these out with the next answer, once."""
        with self._lock:
            self._leases += leases

    def receive(self, node_id: str, token: str, body: bytes) -> bytes | None:
        """The answer to a heartbeat, None when it doesn't verify."""
        try:
            verify_heartbeat(token, self.keys, node_id, body)
        except TokenRefused as refused:
            self.refused.append(str(refused))
            return None
        heartbeat = Heartbeat.model_validate_json(body)
        assert heartbeat.node_id == node_id
        with self._lock:
            if heartbeat.ticket != self._ticket:
                # Whatever else goes wrong: without its ticket no heartbeat would come in again.
                challenge = HeartbeatAnswer(now=self._now(), taken=False, ticket=self._ticket)
                return challenge.model_dump_json().encode()
            self._ticket = secrets.token_hex(8)
            leases = () if self.misbehave else tuple(self._leases)
            if leases:
                self._leases.clear()
            self.heartbeats.append(heartbeat)
            kept = {(each.file_id, each.version) for each in heartbeat.lifetimes}
            self.lifetimes = tuple(
                each for each in self.lifetimes if (each.file_id, each.version) not in kept
            )
            done = {(each.file_id, each.version) for each in heartbeat.holds}
            self.holds = tuple(
                each for each in self.holds if (each.file_id, each.version) not in done
            )
        newer = self.roster is not None and self.roster.version > heartbeat.roster_version
        answer = HeartbeatAnswer(
            now=self._now(),
            ticket=self._ticket,
            roster=self.roster if newer else None,
            revoked=self.revoked,
            work=leases,
            holds=self.holds,
            lifetimes=self.lifetimes,
            inventory=None if self.believed is None else toggled(EMPTY, self.believed),
            learned_at=self.learned_at,
            next_in=self.next_in,
        )
        return answer.model_dump_json().encode()

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def compare(self, node_id: str, token: str, body: bytes) -> bytes:
        """The answer to a page of the node's files."""
        verify_heartbeat(token, self.keys, node_id, body)
        page = InventoryPage.model_validate_json(body)
        if page.deleted:
            wanted = tuple(sorted(self.alive & set(page.file_ids or ())))
            return InventoryAnswer(same=not wanted, wanted=wanted).model_dump_json().encode()
        known = {
            file_id: path
            for file_id, path in (self.believed or {}).items()
            if (page.after or "") < file_id <= (page.last or "g")
        }
        with self._lock:
            self.pages.append(page)
        if page.file_ids is None:
            answer = InventoryAnswer(same=toggled(EMPTY, known) == page.digest)
        else:
            answer = InventoryAnswer(
                same=set(known) == set(page.file_ids),
                wanted=tuple(each for each in page.file_ids if each not in known),
                missing=tuple(
                    BelievedFile(file_id=each, path=path)
                    for each, path in known.items()
                    if each not in page.file_ids
                ),
            )
        return answer.model_dump_json().encode()

    def take_over(self, node_id: str, token: str, body: bytes) -> bytes:
        """The answer to files that were wanted: they are known from now on."""
        verify_heartbeat(token, self.keys, node_id, body)
        held = HeldFiles.model_validate_json(body)
        with self._lock:
            if held.ticket != self._ticket:
                return HeldFilesAnswer(taken=0, outdated=True).model_dump_json().encode()
            if held.deleted:
                self.buried.append(held)
                self.alive -= {each.file_id for each in held.files}
                return HeldFilesAnswer(taken=len(held.files)).model_dump_json().encode()
            self.held.append(held)
            self.believed = {
                **(self.believed or {}),
                **{each.file_id: each.path for each in held.files},
            }
        return HeldFilesAnswer(taken=len(held.files)).model_dump_json().encode()

    def wait_for(self, condition: Callable[[], Any], what: str = "") -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what or 'it'} didn't happen: {self.refused[:3]}"
            time.sleep(0.02)

    def wait_for_heartbeats(self, more: int = 1) -> Heartbeat:
        """Wait for so many more heartbeats; the last of them."""
        until = len(self.heartbeats) + more
        self.wait_for(lambda: len(self.heartbeats) >= until, f"{more} heartbeats")
        return self.heartbeats[-1]

    def told(self, lease_id: str) -> list[Any]:
        """Every outcome of a lease that was told so far."""
        return [
            done
            for heartbeat in [*self.heartbeats]
            for done in heartbeat.work
            if done.lease_id == lease_id
        ]


def _handler_of(control: ControlDouble) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/v1/files":
                control.receipts.append(FileReceipt.model_validate_json(body).receipt)
                respond(self, 201, b"{}")
                return
            node_id, _, what = self.path.removeprefix("/api/v1/nodes/").partition("/")
            scheme, _, token = self.headers["Authorization"].partition(" ")
            assert scheme == "Bearer"
            if what == "inventory":
                respond(self, 200, control.compare(node_id, token, body))
                return
            if what == "inventory/files":
                respond(self, 200, control.take_over(node_id, token, body))
                return
            assert what == "heartbeat"
            before = len(control.heartbeats)
            answer = control.receive(node_id, token, body)
            taken = len(control.heartbeats) > before
            if taken and control.misbehave is not None:
                control.misbehave(self)
                return
            respond(self, 401 if answer is None else 200, answer or b"")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Keep the tests' output clean."""

    return _Handler


def respond(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    content_type: str = "application/json",
    **headers: str,
) -> None:
    """A whole answer."""
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
