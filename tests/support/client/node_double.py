"""A storage node's HTTP surface on loopback, obedient or misbehaving as a test asks."""

from __future__ import annotations

import hashlib
import json
import ssl
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from portside.tokens import SigningKey, mint_receipt, unverified_claims
from portside.wire.claims import ReceiptClaims
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset
from portside.wire.problem import PROBLEM_PREFIX, Problem
from tests.support.client.tus_double import TusDouble
from tests.support.loopback import reserved_port, wait_until_hung_up

NODE_ID = "s01"


class Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off belong to the tests; anything else is a mistake here."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class NodeDouble:
    """Listens until `close`. Replace `on_headers` and `on_put` to change how it behaves."""

    def __init__(
        self, certificate: tuple[Path, Path] | None = None, node_id: str = NODE_ID
    ) -> None:
        self.node_id = node_id
        self.key = SigningKey.generate(node_id)
        self.keys = Keyset(keys=(self.key.public(),))
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.body = b""
        self.body_bytes = 0
        self.stored: dict[str, StoredFile] = {}
        self.on_headers: Callable[[Handler], bool] = send_go_ahead
        self.on_put: Callable[[Handler], None] = store
        self.tus = TusDouble()
        self.closing = threading.Event()
        """What stands still does so until this is set."""
        node = self

        class Bound(Handler):
            double = node

        self._server = Server(("127.0.0.1", reserved_port(self)), Bound)
        self._server.daemon_threads = True
        scheme, host = "http", "127.0.0.1"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme, host = "https", "localhost"
        self.url = f"{scheme}://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def settle(self) -> None:
        """Wait until what clients have sent that have hung up is taken, and nothing runs."""
        wait_until_hung_up(self._server.server_address[1])

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def puts(self) -> list[tuple[str, str, dict[str, str]]]:
        return [request for request in self.requests if request[0] == "PUT"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    double: NodeDouble
    # A test whose client goes away must not leave a thread behind.
    timeout = 60

    def do_GET(self) -> None:
        self._note()
        if self.path == "/api/v1/system/keys":
            self.answer(200, self.double.keys.model_dump_json())
        elif (file := self.double.stored.get(self.path.rpartition("/")[2])) is not None:
            self.answer(200, file.model_dump_json())
        else:
            self.problem(404, "not-found")

    def do_PUT(self) -> None:
        self._note()
        self.double.on_put(self)

    def do_POST(self) -> None:
        self._note()
        self.double.tus.answer(self)

    def do_HEAD(self) -> None:
        self.do_POST()

    def do_PATCH(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def handle_expect_100(self) -> bool:
        going_on = self.double.on_headers(self)
        if not going_on:
            self._note()
        return going_on

    def read(self, count: int) -> bytes:
        data = self.rfile.read(count)
        self.double.body_bytes += len(data)
        return data

    def read_body(self) -> bytes:
        self.double.body = self.read(int(self.headers["Content-Length"]))
        return self.double.body

    def answer(self, status: int, text: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text.encode())
        self.wfile.flush()

    def problem(self, status: int, slug: str, headers: dict[str, str] | None = None) -> None:
        problem = Problem(
            type=PROBLEM_PREFIX + slug,
            title=slug.replace("-", " "),
            status=status,
            detail="so says the double",
        )
        self.answer(status, problem.model_dump_json(), headers)

    def stored_file(self, body: bytes, key: SigningKey | None = None, **lies: Any) -> StoredFile:
        """What an honest node answers for `body`, but for `lies` told by answer and receipt."""
        token = str(self.headers["Authorization"]).removeprefix("Bearer ")
        claims = unverified_claims(token)
        facts: dict[str, Any] = {
            "file_id": claims["file_id"],
            "path": PurePosixPath("isos/x.iso"),
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "committed_at": datetime.now(UTC),
            "jti": claims["jti"],
            "iss": self.double.node_id,
            "node_id": self.double.node_id,
            **lies,
        }
        receipt = ReceiptClaims(aud="uploader", iat=0, copies=(self.double.node_id,), **facts)
        return StoredFile(
            **facts,
            namespace="isos",
            owner="tester",
            name=unquote(self.path.rpartition("/")[2]),
            url=f"https://{self.double.node_id}.portside.test/uploads/{facts['path']}",
            content_type="application/octet-stream",
            receipt=mint_receipt(key or self.double.key, receipt),
        )

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Tests are quiet."""

    def _note(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.double.requests.append((self.command, self.path, headers))


def send_go_ahead(handler: Handler) -> bool:
    handler.send_response_only(100)
    handler.end_headers()
    return True


def stay_silent(handler: Handler) -> bool:
    return True


def refuse_at_once(
    status: int, slug: str, headers: dict[str, str] | None = None
) -> Callable[[Handler], bool]:
    def refuse(handler: Handler) -> bool:
        handler.close_connection = True
        handler.problem(status, slug, headers)
        return False

    return refuse


def store(handler: Handler) -> None:
    stored = handler.stored_file(handler.read_body())
    handler.double.stored[stored.file_id] = stored
    handler.answer(201, stored.model_dump_json(), {"Location": stored.url})


def answering(
    status: int, text: str, headers: dict[str, str] | None = None
) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.read_body()
        handler.answer(status, text, headers)

    return answer


def lie(key: SigningKey | None = None, **lies: Any) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        stored = handler.stored_file(handler.read_body(), key, **lies)
        handler.answer(201, stored.model_dump_json())

    return answer


def tamper(**changed: Any) -> Callable[[Handler], None]:
    """An honest receipt inside an answer of which some fields say something else."""

    def answer(handler: Handler) -> None:
        facts = handler.stored_file(handler.read_body()).model_dump(mode="json")
        handler.answer(201, json.dumps({**facts, **changed}))

    return answer
