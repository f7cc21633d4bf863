"""Other nodes are believed on the word of the cluster's own authority, and of no other."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent.hooks.webhook import post
from agent.host.tls import TrustError, trust
from portside.operator import certificates

HOST = "localhost"


@pytest.fixture
def ca() -> certificates.Pair:
    return certificates.make_ca("test")


@pytest.fixture
def ca_file(tmp_path: Path, ca: certificates.Pair) -> Path:
    path = tmp_path / "ca.crt"
    path.write_bytes(ca.certificate_pem)
    return path


@pytest.fixture
def server(tmp_path: Path, ca: certificates.Pair) -> Iterator[str]:
    """The URL of a TLS server whose certificate is the authority's."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
            """Keep the tests' output clean."""

    class Server(HTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up in the handshake is what some of these tests are about."""

    pair = certificates.issue(ca, HOST)
    (tmp_path / "server.pem").write_bytes(pair.certificate_pem + pair.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://{HOST}:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_clusters_own_authority_is_believed(server: str, ca_file: Path) -> None:
    assert post(server, b"{}", {}, trusting=trust(ca_file)).result == "done"


def test_the_systems_authorities_do_not_vouch_for_a_private_one(server: str) -> None:
    outcome = post(server, b"{}", {})
    assert (outcome.result, "CERTIFICATE_VERIFY_FAILED" in outcome.error) == ("failed", True)


def test_another_clusters_authority_is_not_believed(server: str, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(certificates.make_ca("other").certificate_pem)
    assert "CERTIFICATE_VERIFY_FAILED" in post(server, b"{}", {}, trusting=trust(other)).error


def test_a_certificate_counts_for_its_own_host_only(server: str, ca_file: Path) -> None:
    outcome = post(server.replace(HOST, "127.0.0.1"), b"{}", {}, trusting=trust(ca_file))
    assert "CERTIFICATE_VERIFY_FAILED" in outcome.error


@pytest.mark.parametrize("content", [None, b"", b"no certificate\n"])
def test_an_authority_that_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrustError, match=r"ca: .*ca\.crt can't be used"):
        trust(path)
