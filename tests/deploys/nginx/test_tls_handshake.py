"""What nginx speaks with clients: Mozilla's intermediate configuration, and nothing weaker."""

from __future__ import annotations

import socket
import ssl
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from tests.support import nginx_process
from tests.support.deploys.nodes import MakeNode
from tests.support.nginx_process import HOST, Nginx


@pytest.fixture
def nginx(make_node: MakeNode, tmp_path: Path) -> Iterator[Nginx]:
    running = Nginx(nginx_process.write(configuration(make_node()), tmp_path))
    yield running
    running.stop()


def shaken(
    nginx: Nginx, version: ssl.TLSVersion, ciphers: str = "ALL:!aNULL:@SECLEVEL=0"
) -> str | None:
    """The cipher that a client of one version, which would take anything, is given; None: none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(ciphers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    try:
        with (
            socket.create_connection(("127.0.0.1", nginx.https_port), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            used = secured.cipher()
    except (ssl.SSLError, ConnectionError):
        return None
    assert used is not None
    return used[0]


def test_1_2_and_1_3_are_spoken_and_nothing_before_them(nginx: Nginx) -> None:
    """RFC 8996."""
    versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert all(shaken(nginx, version) for version in versions)
    older = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
    assert [shaken(nginx, version) for version in older] == [None, None]


def test_1_2_has_forward_secrecy_and_aead_alone(nginx: Nginx) -> None:
    """Whatever else a client asks for: CBC, RSA's key exchange, finite fields, 3DES."""
    taken = {
        cipher
        for cipher in (str(each["name"]) for each in _every_cipher())
        if shaken(nginx, ssl.TLSVersion.TLSv1_2, f"{cipher}:@SECLEVEL=0") is not None
    }
    # The certificate of this test has an elliptic curve's key: those with RSA need another.
    assert taken == {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305",
    }


def test_a_client_gets_the_servers_choice_unless_it_would_rather_have_chacha20(
    nginx: Nginx,
) -> None:
    aes_128, aes_256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
    chacha20 = "ECDHE-ECDSA-CHACHA20-POLY1305"
    for wanted, given in (
        ((aes_256, aes_128), aes_128),
        ((chacha20, aes_128), chacha20),
        ((aes_128, chacha20), aes_128),
    ):
        assert shaken(nginx, ssl.TLSVersion.TLSv1_2, ":".join(wanted)) == given


def test_no_ticket_outlives_forward_secrecy_and_nothing_asks_ocsp(nginx: Nginx) -> None:
    said = subprocess.run(
        [
            *("openssl", "s_client", "-connect", f"127.0.0.1:{nginx.https_port}"),
            *("-servername", HOST, "-tls1_2", "-status", "-ign_eof"),
        ],
        input="GET / HTTP/1.0\r\n\r\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    ).stdout
    assert "OCSP response: no response sent" in said
    assert "TLS session ticket" not in said
    assert "Secure Renegotiation IS supported" in said
    assert "Compression: NONE" in said


def _every_cipher() -> list[dict[str, object]]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:!aNULL:!PSK:!SRP:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return [
        dict(each) for each in context.get_ciphers() if not str(each["name"]).startswith("TLS_")
    ]
