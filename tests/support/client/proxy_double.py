"""A proxy on loopback that tunnels (CONNECT, RFC 9110 section 9.3.6), or refuses to."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.client.node_double import Server
from tests.support.loopback import reserved_port


class ProxyDouble:
    """Listens until `close`. Whatever is tunnelled to goes to `target`, whoever was named."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self.requests: list[str] = []
        double = self

        class Bound(_Handler):
            proxy = double

        self._server = Server(("127.0.0.1", reserved_port(self)), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: ProxyDouble
    timeout = 20

    def do_CONNECT(self) -> None:
        self.proxy.requests.append(f"CONNECT {self.path}")
        if self.proxy.target is None:
            self.send_error(407)
            return
        with socket.create_connection(self.proxy.target, timeout=20) as onward:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pass_on, args=(onward, self.connection))
            back.start()
            _pass_on(self.connection, onward)
            back.join()

    def do_PUT(self) -> None:
        self.proxy.requests.append(f"{self.command} {self.path}")
        self.send_error(403)

    def do_GET(self) -> None:
        self.do_PUT()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Tests are quiet."""


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        # One side is gone: so is the tunnel.
        pass
