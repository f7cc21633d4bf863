"""A real webhook receiver on loopback, HTTP or HTTPS, that keeps what it is sent."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.loopback import reserved_port


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    signature: str
    content_type: str
    body: bytes
    headers: Mapping[str, str]
    """By their names in lower case."""


class Receiver:
    """Answers every POST with `status` and remembers it. Ends with its context."""

    def __init__(self, status: int = 204, certificate: Path | None = None) -> None:
        self.status = status
        self.location = ""
        self.received: list[Received] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(
                    Received(
                        self.path,
                        self.headers.get("Portside-Signature", ""),
                        self.headers.get("Content-Type", ""),
                        body,
                        {name.lower(): value for name, value in self.headers.items()},
                    )
                )
                self.send_response(receiver.status)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", reserved_port(self)), Handler)
        scheme = "http"
        if certificate is not None:
            scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.origin = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def self_signed(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody's list of authorities has, key in the same file."""
    made = folder / "receiver.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=receiver"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
    )
    with made.open("a") as file:
        file.write((folder / "certificate.pem").read_text())
    return made
