"""A node that serves one file with ranges on loopback, and misbehaves as a test asks."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.support.client.node_double import Server
from tests.support.loopback import reserved_port

Fault = Callable[["CopyHandler"], bool]
"""Answers a request in place of the double; False lets the double answer it."""


class CopyDouble:
    """Serves `content` until `close`. `faults` are asked in turn, each once."""

    def __init__(
        self, node_id: str, content: bytes, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.node_id = node_id
        self.content = content
        self.ranges: list[str | None] = []
        self.faults: list[Fault] = []
        self.takes_ranges = True
        double = self

        class Bound(CopyHandler):
            copy = double

        self._server = Server(("127.0.0.1", reserved_port(self)), Bound)
        self._server.daemon_threads = True
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            base = f"https://localhost:{self._server.server_address[1]}"
        self.url = f"{base}/uploads/isos/x.iso?token=eyJsecret.eyJsecret.secret"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class CopyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    copy: CopyDouble
    timeout = 20

    def do_GET(self) -> None:
        self.copy.ranges.append(self.headers["Range"])
        fault = next((each for each in list(self.copy.faults) if each(self)), None)
        if fault is not None:
            self.copy.faults.remove(fault)
            return
        self.serve()

    def serve(self, cut_at: int | None = None) -> None:
        """Answer with the range that was asked for, up to the file's byte `cut_at`."""
        whole = self.copy.content
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        begin = int(asked[1]) if asked and self.copy.takes_ranges else 0
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(whole) - begin))
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(whole) - 1}/{len(whole)}")
        self.end_headers()
        self.wfile.write(whole[begin:cut_at])
        if cut_at is not None:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Tests are quiet."""


def cut_at(position: int) -> Fault:
    def fault(handler: CopyHandler) -> bool:
        handler.serve(position)
        return True

    return fault


def refuse(status: int) -> Fault:
    def fault(handler: CopyHandler) -> bool:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return fault
