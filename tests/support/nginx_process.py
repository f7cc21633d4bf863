"""nginx on this computer with the configuration of a node, and doubles of what is behind it."""

from __future__ import annotations

import getpass
import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bench.processes import family_of
from deploys import layout
from portside.operator import certificates
from tests.support.loopback import PATIENCE, reserved_port, wait_until

HOST = "s01.portside.test"
Answer = Callable[[str, dict[str, str]], bytes]


def allowing(request: str, headers: dict[str, str]) -> bytes:
    """Everything is allowed, and nothing that isn't there ever was."""
    if not request.endswith("/internal/missing"):
        return reply(204)
    body = '{"type":"urn:portside:problem:not-found","status":404}'
    return reply(404, body, Content_Type="application/problem+json")


class AgentDouble:
    """Stands for the agent, or for the control plane.

    Reads a request and answers what the test says.
    """

    def __init__(self, path: Path) -> None:
        self.answer: Answer = allowing
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.answered: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        path.chmod(0o777)
        self._socket.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop listening, as an agent that has gone."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        # nginx may hang up at any moment, with its client.
        with connection, suppress(OSError), connection.makefile("rb") as received:
            request = received.readline().decode().rpartition(" ")[0]
            if not request:
                return
            headers = {}
            while line := received.readline().decode().strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            # A body that was left unread would break the connection before the answer is through.
            received.read(int(headers.get("content-length", 0)))
            self.requests.append((request, headers))
            connection.sendall(self.answer(request, headers))
            self.answered.append(request)


def reply(status: int, body: str = "", **headers: str) -> bytes:
    """An HTTP answer; underscores in header names stand for hyphens."""
    lines = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def moved(configuration: str, home: Path) -> str:
    """The configuration with its places under `home`, on free ports of 127.0.0.1."""
    text = configuration
    of_an_agent = ((layout.AGENT_SOCKET, f"{home}/agent.sock"), ("/srv/portside", f"{home}/data"))
    of_control = ((layout.CONTROL_SOCKET, f"{home}/control.sock"),)
    for old, new in (
        *(of_an_agent if "upstream agent" in text else ()),
        *(of_control if "upstream control" in text else ()),
        (layout.TLS_PAIR, f"{home}/node.pem"),
        ("/var/log/nginx", str(home)),
        ("/run/nginx.pid", f"{home}/nginx.pid"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    # As whoever runs the tests: nobody else can look into pytest's folders.
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    text = text.replace("user www-data;", user)
    return re.sub(
        r"(listen )(80|443|8443) ", lambda found: f"{found[1]}127.0.0.1:{reserved_port()} ", text
    )


def write(configuration: str, home: Path) -> Path:
    """A folder in which nginx can check or serve `configuration`."""
    pair = certificates.issue(certificates.make_ca("test"), HOST)
    (home / "node.pem").write_bytes(pair.certificate_pem + pair.key_pem)
    (home / "data" / "uploads").mkdir(parents=True)
    (home / "data" / layout.MARKER).touch()
    path = home / "nginx.conf"
    path.write_text(moved(configuration, home))
    return path


def check(path: Path) -> str:
    """What `nginx -t` finds wrong; empty if nothing."""
    done = subprocess.run(
        ["/usr/sbin/nginx", "-t", "-q", "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (done.stderr == ""), done.stderr
    return done.stderr


class Nginx:
    """nginx in the foreground; HTTPS requests to it, or to its last server (`control_port`)."""

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self._path = path
        listens = re.findall(r"listen 127\.0\.0\.1:(\d+)", path.read_text())
        self.http_port, self.https_port = int(listens[0]), int(listens[1])
        self.control_port = int(listens[-1])
        self._process = subprocess.Popen(
            ["/usr/sbin/nginx", "-c", str(path), "-g", "daemon off;"],
            env={**os.environ, **(environment or {})},
            stderr=subprocess.PIPE,
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.https_port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise AssertionError("nginx doesn't listen")

    def wait_until_reloaded(self) -> None:
        """Wait until nobody answers as before a reload, once somebody answers as after it."""
        # It starts all of the new workers, and only then ends the old ones.
        [workers] = re.findall(r"^worker_processes (\d+);", self._path.read_text(), re.MULTILINE)
        wait_until(lambda: len(family_of(self._process.pid)) == 1 + int(workers))

    def stop(self) -> None:
        """End it and wait."""
        self._process.send_signal(signal.SIGTERM)
        self._process.communicate(timeout=PATIENCE)

    def connect(self, source: str = "127.0.0.1", port: int | None = None) -> ssl.SSLSocket:
        """A TLS connection that takes any certificate: what is tested is HTTP."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        plain = socket.create_connection(
            ("127.0.0.1", port or self.https_port), timeout=PATIENCE, source_address=(source, 0)
        )
        return context.wrap_socket(plain, server_hostname=HOST)

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        source: str = "127.0.0.1",
        port: int | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request, one connection."""
        connection = http.client.HTTPConnection(HOST)
        connection.sock = self.connect(source, port)
        try:
            connection.request(method, path, body or None, headers or {})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()
