"""What lies between a client and its node: proxies, authorities, servers without expectations."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from portside.client import NodeUnavailable, UploadClient
from portside.operator.keystore import Keystore
from portside.tokens import SigningKey
from portside.wire import paths
from portside.wire.keys import Keyset
from tests.support.client.node_double import Handler, NodeDouble, send_go_ahead, store
from tests.support.client.proxy_double import ProxyDouble
from tests.support.client.tokens import token


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment of who runs the tests."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            monkeypatch.delenv(name)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.iso"
    path.write_bytes(os.urandom(100_000))
    return path


@pytest.fixture
def behind_tls(keystore: Keystore) -> Iterator[NodeDouble]:
    made = NodeDouble(keystore.node_certificate("s01", "localhost"))
    yield made
    made.close()


@pytest.fixture
def proxy() -> Iterator[ProxyDouble]:
    made = ProxyDouble()
    yield made
    made.close()


def no_expectations(handler: Handler) -> bool:
    """Refuse them as old proxies do it (RFC 9110, section 15.5.18)."""
    handler.answer(417)
    return False


def no_expectations_later(handler: Handler) -> None:
    if "Expect" in handler.headers:
        handler.read_body()
        handler.answer(417)
        return
    store(handler)


@pytest.mark.parametrize("later", [False, True])
def test_what_knows_no_expectations_is_sent_none(later: bool, node: NodeDouble, file: Path) -> None:
    if later:
        node.on_put = no_expectations_later
    else:
        node.on_headers = no_expectations
    client = UploadClient(node.url)
    try:
        assert client.put(file, token()).size == 100_000
        assert client.put(file, token()).size == 100_000
    finally:
        client.close()
    assert ["expect" in headers for _, _, headers in node.puts()] == [True, False, False]
    assert node.body == file.read_bytes()


def test_the_environments_proxy_is_gone_through(
    proxy: ProxyDouble,
    behind_tls: NodeDouble,
    keystore: Keystore,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = urlsplit(behind_tls.url).port or 0
    proxy.target = ("127.0.0.1", port)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = UploadClient(behind_tls.url, keystore.ca_certificate())
    try:
        assert client.put(file, token()).size == 100_000
    finally:
        client.close()
    assert proxy.requests == [f"CONNECT localhost:{port}"]
    assert behind_tls.body == file.read_bytes()


def test_a_proxy_that_lets_nobody_through_is_named(
    proxy: ProxyDouble, keystore: Keystore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    client = UploadClient("https://s01.example.net", keystore.ca_certificate())
    with pytest.raises(NodeUnavailable, match=r"the proxy \(HTTPS_PROXY\): .*407"):
        client.put(file, token())
    client.close()


def test_a_token_in_the_clear_never_leaves_this_machine_by_a_proxy(
    proxy: ProxyDouble, node: NodeDouble, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    node.on_headers = send_go_ahead
    client = UploadClient(node.url)
    assert client.put(file, token()).size == 100_000
    client.close()
    assert proxy.requests == []


def test_an_authority_of_the_environment_is_trusted(
    behind_tls: NodeDouble, keystore: Keystore, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    untrusting = UploadClient(behind_tls.url)
    with pytest.raises(NodeUnavailable, match="its certificate or TLS is not accepted"):
        untrusting.put(file, token())
    untrusting.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(keystore.ca_certificate()))
    client = UploadClient(behind_tls.url)
    assert client.put(file, token()).size == 100_000
    client.close()


@pytest.mark.parametrize("code", [socket.EAI_NONAME, socket.EAI_AGAIN])
def test_a_name_that_isnt_found_is_told_in_plain_words(
    code: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unresolved(*_: object, **__: object) -> None:
        raise socket.gaierror(code, "so says the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    client = UploadClient("https://nowhere.invalid")
    with pytest.raises(NodeUnavailable) as failed:
        client.put(file, token())
    client.close()
    assert str(failed.value) == (
        "https://nowhere.invalid: no connection: Failed to resolve 'nowhere.invalid' "
        "(so says the resolver)"
    )


def test_a_node_whose_key_was_replaced_under_an_upload_is_asked_for_it(file: Path) -> None:
    node = NodeDouble()
    try:
        client = UploadClient(node.url)
        client.node_keys()
        following = SigningKey.generate("s01")
        node.key = following
        node.keys = Keyset(keys=(*node.keys.keys, following.public()))
        client.put(file, token())
        assert [path for _, path, _ in node.requests].count(paths.KEYS) == 2
    finally:
        node.close()
