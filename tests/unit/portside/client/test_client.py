"""The upload client against nodes that behave, refuse, break off and lie."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portside.client import LocalFileError, NodeUnavailable, ReceiptRefused, Refused, UploadClient
from portside.client.http import connection
from portside.client.upload import body, single
from portside.digest import parse_repr_digest
from portside.operator.keystore import Keystore
from portside.tokens import SigningKey, TokenRefused
from tests.support.client.node_double import (
    Handler,
    NodeDouble,
    answering,
    lie,
    refuse_at_once,
    send_go_ahead,
    stay_silent,
    store,
    tamper,
)
from tests.support.client.tokens import token

MIB = 1024 * 1024


@pytest.fixture
def client(node: NodeDouble) -> Iterator[UploadClient]:
    made = UploadClient(node.url)
    yield made
    made.close()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "x.iso"
    path.write_bytes(b"some bytes")
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """More than sockets buffer, and a size that is no multiple of a block."""
    path = tmp_path / "large.iso"
    with path.open("wb") as file:
        file.truncate(64 * MIB + 7)
    return path


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are noted, not slept."""
    slept: list[float] = []
    monkeypatch.setattr("portside.client.upload.single.time.sleep", slept.append)
    return slept


def test_a_file_arrives_whole_and_its_receipt_is_verified(
    node: NodeDouble, client: UploadClient, tmp_path: Path
) -> None:
    content = os.urandom(3 * MIB + 17)
    (tmp_path / "x.iso").write_bytes(content)
    progress: list[int] = []
    stored = client.put(tmp_path / "x.iso", token(), on_progress=progress.append)
    assert node.body == content
    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert progress == [1 * MIB, 2 * MIB, 3 * MIB, 3 * MIB + 17]


def test_an_empty_file_is_announced_with_its_length(
    node: NodeDouble, client: UploadClient, tmp_path: Path
) -> None:
    (tmp_path / "empty.bin").touch()
    assert client.put(tmp_path / "empty.bin", token()).size == 0
    (_, _, headers) = node.puts()[0]
    assert headers["content-length"] == "0"
    assert "transfer-encoding" not in headers


@pytest.mark.parametrize("name", ["ä b.iso", "100%41.iso", "a#b?c.iso", "ф&=+.iso", "...x"])
def test_names_arrive_as_they_are(
    name: str, node: NodeDouble, client: UploadClient, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(b"x")
    assert client.put(tmp_path / name, token()).name == name


def test_the_tokens_name_wins(node: NodeDouble, client: UploadClient, small: Path) -> None:
    assert client.put(small, token(name="other.iso")).name == "other.iso"


def test_a_digest_known_ahead_is_announced(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    digest = body.sha256_of(small)
    client.put(small, token(), sha256=digest)
    assert parse_repr_digest(node.puts()[0][2]["repr-digest"]) == digest


def test_a_netrc_entry_never_replaces_the_token(
    node: NodeDouble,
    client: UploadClient,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    minted = token()
    client.put(small, minted)
    assert node.puts()[0][2]["authorization"] == f"Bearer {minted}"


def test_memory_stays_the_same_however_large_the_file(
    node: NodeDouble, client: UploadClient, large: Path
) -> None:
    def count_only(handler: Handler) -> None:
        digest, left = hashlib.sha256(), large.stat().st_size
        while left:
            block = handler.read(min(left, 65536))
            digest.update(block)
            left -= len(block)
        stored = handler.stored_file(b"", size=large.stat().st_size, sha256=digest.hexdigest())
        handler.answer(201, stored.model_dump_json())

    node.on_put = count_only
    tracemalloc.start()
    try:
        client.put(large, token())
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


# -- answers that come early -------------------------------------------------------------------


def test_a_refusal_costs_no_byte_of_the_body(
    node: NodeDouble, client: UploadClient, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GO_AHEAD_SECONDS", 60.0)
    node.on_headers = refuse_at_once(413, "too-large")
    progress: list[int] = []
    with pytest.raises(Refused, match=r"413 too-large\); raise uploads.max_size"):
        client.put(large, token(), on_progress=progress.append)
    assert not progress


def _answer_and_stop_reading(handler: Handler) -> None:
    handler.read(100_000)
    handler.problem(415, "type-refused")
    handler.double.body = b"answered"
    handler.double.closing.wait(120)


def test_an_answer_amid_the_body_is_heard_though_the_node_stops_reading(
    node: NodeDouble, client: UploadClient, large: Path
) -> None:
    node.on_put = _answer_and_stop_reading
    started = time.monotonic()
    with pytest.raises(Refused, match="type-refused"):
        client.put(large, token())
    assert time.monotonic() - started < 60


def test_an_answer_is_heard_amid_a_block_that_the_node_doesnt_take() -> None:
    # A pair of sockets, because its buffers don't grow: TCP's would swallow the block in the end.
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    listening = connection._Listening("localhost")
    listening.sock = ours
    listening._in_body = True

    def answer_then_close() -> None:
        time.sleep(0.1)
        theirs.sendall(b"HTTP/1.1 415 Refused\r\n\r\n")
        heard.wait(60)
        theirs.close()

    heard = threading.Event()
    node = threading.Thread(target=answer_then_close)
    node.start()
    try:
        with pytest.raises(connection.AnsweredEarly):
            listening.send(bytes(8 * MIB))
    finally:
        heard.set()
        node.join()
        ours.close()


def test_after_an_early_answer_the_next_upload_takes_a_new_connection(
    node: NodeDouble, client: UploadClient, large: Path, small: Path
) -> None:
    node.on_put = _answer_and_stop_reading
    with pytest.raises(Refused):
        client.put(large, token())
    node.on_put = store
    assert client.put(small, token()).size == 10


def test_a_node_that_never_says_go_ahead_gets_the_body_anyway(
    node: NodeDouble, client: UploadClient, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GO_AHEAD_SECONDS", 0.05)
    node.on_headers = stay_silent
    assert client.put(small, token()).size == 10


def test_other_interim_answers_are_passed_over(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    def hint_first(handler: Handler) -> bool:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        return send_go_ahead(handler)

    node.on_headers = hint_first
    assert client.put(small, token()).size == 10


def test_a_node_that_takes_nothing_is_given_up(
    node: NodeDouble, client: UploadClient, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STALL_SECONDS", 0.2)

    def stand_still(handler: Handler) -> None:
        node.closing.wait(60)

    node.on_put = stand_still
    with pytest.raises(NodeUnavailable, match="took no data"):
        client.put(large, token())


# -- nodes that break off, are full, or are no nodes -----------------------------------------------


def _cut_after(count: int) -> Callable[[Handler], None]:
    def cut(handler: Handler) -> None:
        handler.read(count)
        handler.connection.shutdown(socket.SHUT_RDWR)
        handler.close_connection = True

    return cut


def test_a_connection_cut_amid_the_body_is_unavailable(
    node: NodeDouble, client: UploadClient, large: Path
) -> None:
    node.on_put = _cut_after(100_000)
    with pytest.raises(NodeUnavailable, match=r"after \d+ of 67108871 bytes"):
        client.put(large, token())


def test_a_connection_cut_before_the_answer_is_unavailable(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    node.on_put = _cut_after(10)
    with pytest.raises(NodeUnavailable, match="after 10 of 10 bytes"):
        client.put(small, token())


def test_a_closed_port_is_unavailable(small: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = UploadClient(f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(NodeUnavailable, match="Connection refused"):
            client.put(small, token())


def test_a_full_node_is_asked_again_and_the_wait_is_told(
    node: NodeDouble, client: UploadClient, small: Path, naps: list[float]
) -> None:
    refuse = refuse_at_once(503, "no-slot", {"Retry-After": "7"})

    def full_once(handler: Handler) -> bool:
        node.on_headers = send_go_ahead
        return refuse(handler)

    node.on_headers = full_once
    told: list[float] = []
    stored = client.put(small, token(), on_wait=lambda seconds, reason: told.append(seconds))
    assert stored.size == 10
    assert naps == told
    assert len(naps) == 1
    assert 7 <= naps[0] <= 10.5


def test_a_node_that_stays_full_is_given_up(
    node: NodeDouble, client: UploadClient, small: Path, naps: list[float]
) -> None:
    node.on_headers = refuse_at_once(503, "no-slot", {"Retry-After": "100000"})
    with pytest.raises(NodeUnavailable, match="no-slot"):
        client.put(small, token())
    assert len(naps) == 3
    assert max(naps) <= 90


def test_a_503_without_retry_after_is_not_asked_again(
    node: NodeDouble, client: UploadClient, small: Path, naps: list[float]
) -> None:
    node.on_headers = refuse_at_once(503, "read-only")
    with pytest.raises(NodeUnavailable):
        client.put(small, token())
    assert not naps


def test_a_body_that_was_taken_is_not_sent_twice_unasked(
    node: NodeDouble,
    client: UploadClient,
    small: Path,
    naps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(single, "BARELY_BEGUN", 5)

    def full_at_the_end(handler: Handler) -> None:
        handler.read_body()
        handler.problem(503, "shutting-down", {"Retry-After": "1"})

    node.on_put = full_at_the_end
    with pytest.raises(NodeUnavailable, match="shutting-down"):
        client.put(small, token())
    assert not naps


def test_a_proxys_error_page_is_told_from_a_nodes_problem(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    node.on_put = answering(502, "<html>")
    with pytest.raises(NodeUnavailable, match=r"502 Bad Gateway.*proxy"):
        client.put(small, token())


def test_a_redirect_takes_neither_body_nor_token_elsewhere(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    elsewhere = NodeDouble()
    try:
        node.on_put = answering(307, "", {"Location": f"{elsewhere.url}/api/internal/upload/x"})
        with pytest.raises(Refused, match="307"):
            client.put(small, token())
        assert not elsewhere.requests
    finally:
        elsewhere.close()


def test_what_is_no_node_is_noticed_before_anything_is_sent(
    node: NodeDouble, client: UploadClient, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.answer(200, "<html>"))
    with pytest.raises(NodeUnavailable, match="is this a node"):
        client.put(small, token())
    assert not node.puts()


# -- receipts that prove nothing -------------------------------------------------------------------

LIES: dict[str, tuple[Callable[[Handler], None], str]] = {
    "signed by a stranger": (lie(SigningKey.generate("s01")), "token-unknown-key"),
    "another node's word": (lie(iss="s02"), "'iss' is not the owner"),
    "another size": (lie(size=9), "size 9, not 10"),
    "another content": (lie(sha256="0" * 64), "SHA-256 000"),
    "another file": (lie(file_id="0" * 32), "file id 000"),
    "another session": (lie(jti="an-older-session"), "session an-older-session"),
    "answer and receipt differ in size": (tamper(size=9), "answer .* size 9"),
    "answer and receipt differ in path": (tamper(path="isos/y.iso"), "path isos/y.iso"),
    "answer of another node": (tamper(node_id="s02"), "node s02"),
    "a receipt that is none": (tamper(receipt="x"), "token-malformed"),
    "no stored file": (answering(201, "{}"), "not with a stored file"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_receipt_that_proves_nothing_is_refused(
    what: str, node: NodeDouble, client: UploadClient, small: Path
) -> None:
    node.on_put, message = LIES[what]
    with pytest.raises(ReceiptRefused, match=message):
        client.put(small, token())


def test_a_key_of_somebody_else_in_the_nodes_key_set_counts_for_nothing(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    other = SigningKey.generate("s02")
    node.keys = node.keys.model_copy(update={"keys": (*node.keys.keys, other.public())})
    node.on_put = lie(other, iss="s02")
    with pytest.raises(ReceiptRefused, match="token-unknown-key"):
        client.put(small, token())


# -- tokens used before ----------------------------------------------------------------------------


def test_a_lost_answer_is_made_up_for_by_the_same_token(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    used = token()
    first = client.put(small, used)
    node.on_headers = refuse_at_once(409, "token-used")
    assert client.put(small, used) == first


def test_a_used_token_stores_nothing_else(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    used = token()
    client.put(small, used)
    small.write_bytes(b"other bytes")
    node.on_headers = refuse_at_once(409, "token-used")
    with pytest.raises(Refused, match="token-used"):
        client.put(small, used)


def test_what_is_no_token_is_never_sent(
    node: NodeDouble, client: UploadClient, small: Path
) -> None:
    with pytest.raises(TokenRefused):
        client.put(small, "no token")
    assert not node.requests


# -- files that change -----------------------------------------------------------------------------


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [_grow, lambda path: os.truncate(path, 2 * MIB), _touch])
def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(
    change: Callable[[Path], None], node: NodeDouble, client: UploadClient, large: Path
) -> None:
    size = large.stat().st_size
    cut = threading.Event()

    def take_what_comes(handler: Handler) -> None:
        handler.read(size)
        handler.close_connection = True
        cut.set()

    node.on_put = take_what_comes
    with pytest.raises(LocalFileError, match="changed while it was being sent"):
        client.put(large, token(), on_progress=lambda sent: change(large))
    assert cut.wait(60)
    assert node.body_bytes < size


@pytest.mark.parametrize("missing", ["nothing-here", "."])
def test_a_file_that_cant_be_read_is_a_local_error(
    missing: str, client: UploadClient, tmp_path: Path
) -> None:
    with pytest.raises(LocalFileError):
        client.put(tmp_path / missing, token())


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture
def tls_node(keystore: Keystore) -> Iterator[NodeDouble]:
    double = NodeDouble(keystore.node_certificate("s01", "localhost"))
    yield double
    double.close()


def test_tls_is_verified_with_the_named_authority(
    tls_node: NodeDouble, keystore: Keystore, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment's bundle must not take the place of the one that was named.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    client = UploadClient(tls_node.url, keystore.ca_certificate())
    assert client.put(small, token()).size == 10
    client.close()


def test_an_unknown_authority_gets_no_token(
    tls_node: NodeDouble, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    client = UploadClient(tls_node.url)
    with pytest.raises(NodeUnavailable, match=r"certificate verify failed.*--ca"):
        client.put(small, token())
    assert not tls_node.requests
    client.close()


def test_over_tls_large_bodies_pass_and_early_answers_are_heard(
    tls_node: NodeDouble, keystore: Keystore, large: Path
) -> None:
    client = UploadClient(tls_node.url, keystore.ca_certificate())
    assert client.put(large, token()).size == large.stat().st_size
    tls_node.on_put = _answer_and_stop_reading
    started = time.monotonic()
    with pytest.raises(Refused, match="type-refused"):
        client.put(large, token())
    assert time.monotonic() - started < 60
    client.close()


def test_session_tickets_are_no_answer_and_no_go_ahead(
    tls_node: NodeDouble, keystore: Keystore, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GO_AHEAD_SECONDS", 60.0)
    client = UploadClient(tls_node.url, keystore.ca_certificate())
    client.node_keys()

    def refuse_after_a_while(handler: Handler) -> bool:
        time.sleep(0.2)
        return refuse_at_once(415, "type-refused")(handler)

    # A new connection: the tickets come behind its handshake, before anything of HTTP does.
    client.close()
    assert client.put(large, token()).size == large.stat().st_size
    client.close()
    tls_node.on_headers = refuse_after_a_while
    progress: list[int] = []
    with pytest.raises(Refused):
        client.put(large, token(), on_progress=progress.append)
    assert not progress
    client.close()


@pytest.mark.parametrize("url", ["http://s01.example.net", "s01.example.net", "ftp://127.0.0.1"])
def test_tokens_never_travel_in_the_clear(url: str) -> None:
    with pytest.raises(ValueError, match="https://"):
        UploadClient(url)


def test_the_upload_url_is_as_good_as_the_nodes() -> None:
    assert UploadClient("https://s01.a.b/api/internal/upload").base_url == "https://s01.a.b"
