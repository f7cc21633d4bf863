"""Bad input hears what is wrong, in a problem document, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import jwt
import pytest
import requests

from portside.digest import format_repr_digest
from portside.quantities import GIB, MIB
from portside.tokens import RECEIPT_TYPE, SigningKey
from tests.support.agent.process import SMALL_NODE, Agent, slug_of
from tests.support.loopback import wait_until
from tests.support.minting import unsigned

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(shared_agent: Agent) -> Iterator[None]:
    # Other tests may have left uploads open in the agent they share.
    staged, before = shared_agent.leftovers(), shared_agent.visible_files()
    yield
    # These, on the other hand, may have gone since.
    wait_until(lambda: set(shared_agent.leftovers()) <= set(staged))
    assert shared_agent.visible_files() == before


def _bearer(agent: Agent, token: str) -> requests.Response:
    return agent.put("a.bin", b"content", token)


def _with_shared_secret(agent: Agent) -> str:
    claims = agent.claims().model_dump(mode="json", exclude_none=True)
    secret = agent.issuer.public().x.ljust(32, "=")
    return jwt.encode(
        claims, secret, algorithm="HS256", headers={"kid": agent.issuer.kid, "typ": "upload+jwt"}
    )


def _tampered(agent: Agent) -> str:
    head, _, signature = agent.mint().split(".")
    other = agent.mint(namespace="elsewhere").split(".")[1]
    return f"{head}.{other}.{signature}"


@pytest.mark.parametrize(
    ("token", "status", "slug"),
    [
        pytest.param(lambda a: "rubbish", 401, "token-malformed", id="no JWS"),
        pytest.param(
            lambda a: unsigned(a.claims(), a.issuer.kid), 401, "token-algorithm", id="alg none"
        ),
        pytest.param(_with_shared_secret, 401, "token-algorithm", id="public key as secret"),
        pytest.param(_tampered, 401, "token-signature", id="claims of another token"),
        pytest.param(
            lambda a: a.mint(SigningKey.generate("lab")), 401, "token-unknown-key", id="forged"
        ),
        pytest.param(
            lambda a: a.issuer.sign(RECEIPT_TYPE, a.claims().model_dump(exclude_none=True)),
            401,
            "token-type",
            id="a receipt's type",
        ),
        pytest.param(
            lambda a: a.mint(exp=int(time.time()) - 120), 401, "token-expired", id="expired"
        ),
        pytest.param(
            lambda a: a.mint(nbf=int(time.time()) + 600), 401, "token-not-yet-valid", id="too early"
        ),
        pytest.param(lambda a: a.mint(aud="s02"), 403, "token-wrong-node", id="another node's"),
        pytest.param(lambda a: a.mint(iss="evil"), 401, "token-claims", id="another issuer"),
    ],
)
def test_a_token_that_does_not_verify_is_refused(
    shared_agent: Agent, token: Callable[[Agent], str], status: int, slug: str
) -> None:
    response = _bearer(shared_agent, token(shared_agent))
    assert (response.status_code, slug_of(response)) == (status, slug)
    assert ("WWW-Authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Basic eDp5"}, {"Authorization": ""}])
def test_an_upload_without_a_token_is_refused(shared_agent: Agent, header: dict[str, str]) -> None:
    url = f"{shared_agent.url}/api/internal/upload/a.bin"
    response = requests.put(url, data=b"x", headers=header, timeout=60)
    assert (response.status_code, slug_of(response)) == (401, "token-missing")


@pytest.mark.parametrize(
    ("name", "slug", "status"),
    [
        ("..%2F..%2Fetc%2Fpasswd.bin", "name-refused", 400),
        ("%2Fetc%2Fpasswd.bin", "name-refused", 400),
        ("..%5C..%5Cwindows.bin", "name-refused", 400),
        ("a%00.bin", "name-refused", 400),
        ("a%0Ab.bin", "name-refused", 400),
        ("....", "name-refused", 400),
        ("%FF%FE.bin", "name-refused", 400),
        ("a.bin.attr.json", "name-refused", 400),
        ("page.html", "type-refused", 415),
        ("logo.svg", "type-refused", 415),
        ("feed.xml", "type-refused", 415),
        ("run.exe", "type-refused", 415),
        ("noextension", "type-refused", 415),
    ],
)
def test_a_name_or_type_that_is_not_taken_is_refused(
    shared_agent: Agent, name: str, slug: str, status: int
) -> None:
    response = shared_agent.put(name, b"x")
    assert (response.status_code, slug_of(response)) == (status, slug)


def test_a_path_in_the_url_is_no_name(shared_agent: Agent) -> None:
    # requests would tidy the path up: this is what a hostile client sends.
    with socket.create_connection(("127.0.0.1", shared_agent.port), timeout=60) as connection:
        connection.sendall(
            b"PUT /api/internal/upload/../../../etc/cron.d/x.bin HTTP/1.1\r\nHost: a\r\n"
            b"Authorization: Bearer " + shared_agent.mint().encode() + b"\r\n"
            b"Content-Length: 1\r\nConnection: close\r\n\r\nx"
        )
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"name-refused" in answer


@pytest.mark.parametrize("filename", ["../x.bin", "a/b.bin", "..", "\\\\host\\x.bin"])
def test_a_forms_file_name_with_a_path_is_refused(shared_agent: Agent, filename: str) -> None:
    boundary = "b"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f"filename*=UTF-8''{quote(filename, safe='')}\r\n\r\nx\r\n--{boundary}--\r\n"
    )
    response = requests.post(
        f"{shared_agent.url}/api/internal/upload",
        data=body,
        headers={
            "Authorization": f"Bearer {shared_agent.mint()}",
            "Content-Type": f"multipart/form-data; boundary={boundary}",
        },
        timeout=60,
    )
    assert response.status_code in (400, 415)
    assert slug_of(response) in ("name-refused", "type-refused")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.bin", b"<!DOCTYPE html><script>alert(1)</script>"),
        ("a.txt", b"\xef\xbb\xbf \n<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("a.png", b"<?xml version='1.0'?><svg/>"),
        ("a.png", b"GIF89a" + bytes(64)),
        ("a.iso", PNG),
        ("a.zip", b"MZ" + bytes(64)),
        ("a.tar.gz", PNG),
    ],
)
def test_content_that_does_not_fit_its_name_is_refused(
    shared_agent: Agent, name: str, content: bytes
) -> None:
    response = shared_agent.put(name, content)
    assert (response.status_code, slug_of(response)) == (415, "type-refused")


@pytest.mark.parametrize("chunks", [b"zz\r\nabc\r\n", b"3\r\nabcX", b"3\r\nab"])
def test_a_body_that_is_not_in_chunks_is_refused_in_words(
    shared_agent: Agent, chunks: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", shared_agent.port), timeout=60) as connection:
        connection.sendall(
            b"PUT /api/internal/upload/a.bin HTTP/1.1\r\nHost: a\r\n"
            b"Authorization: Bearer " + shared_agent.mint().encode() + b"\r\n"
            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + chunks
        )
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"problem:body-cut" in answer
    assert b"b'" not in answer


def test_a_refused_type_is_told_in_words_for_its_sender(shared_agent: Agent) -> None:
    for name, content, told in (
        ("README", b"x", "the name has no extension"),
        ("setup.pdf.exe", b"x", "files ending in .exe are not taken"),
        ("disk.iso.part", b"x", "files ending in .part are not taken"),
        ("photo.png", b"GIF89a" + bytes(64), "the content is a GIF picture, not a PNG picture"),
        ("disc.iso", b"MZ" + bytes(64), "the content is a program, not the image of a disc"),
    ):
        detail = shared_agent.put(name, content).json()["detail"]
        assert detail.startswith(told)


def test_a_size_other_than_the_tokens_is_refused(shared_agent: Agent) -> None:
    for size in (6, 8):
        response = shared_agent.put("a.bin", b"content", shared_agent.mint(size=size))
        assert (response.status_code, slug_of(response)) == (400, "size-mismatch")
        form = shared_agent.post("a.bin", b"content", shared_agent.mint(size=size))
        assert slug_of(form) in ("size-mismatch", "too-large")


def test_a_body_over_the_tokens_bound_is_refused_however_it_is_sent(shared_agent: Agent) -> None:
    def token() -> str:
        return shared_agent.mint(max_size=1000)

    data = bytes(1001)
    chunks = iter([data[:500], data[500:]])
    for response in (
        shared_agent.put("a.bin", data, token()),
        shared_agent.put("a.bin", chunks, token()),
        shared_agent.post("a.bin", data, token()),
        shared_agent.put("a.bin", b"x", shared_agent.mint(size=100 * GIB)),
    ):
        assert (response.status_code, slug_of(response)) == (413, "too-large")


def test_a_body_without_a_length_is_refused(shared_agent: Agent) -> None:
    with socket.create_connection(("127.0.0.1", shared_agent.port), timeout=60) as connection:
        connection.sendall(
            b"PUT /api/internal/upload/a.bin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Authorization: Bearer " + shared_agent.mint().encode() + b"\r\n\r\n"
        )
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 411 ")
    assert b"length-required" in answer


def test_a_digest_that_does_not_match_discards_the_upload(shared_agent: Agent) -> None:
    wrong = hashlib.sha256(b"other").hexdigest()
    by_token = shared_agent.put("a.bin", b"content", shared_agent.mint(sha256=wrong))
    header = {"Repr-Digest": format_repr_digest(wrong)}
    by_header = shared_agent.put("a.bin", b"content", headers=header)
    for response in (by_token, by_header):
        assert (response.status_code, slug_of(response)) == (422, "digest-mismatch")
    unreadable = shared_agent.put("a.bin", b"content", headers={"Repr-Digest": "sha-256=:no:"})
    assert (unreadable.status_code, slug_of(unreadable)) == (400, "malformed-request")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/octet-stream", b"content"),
        ("multipart/form-data", b"content"),
        ("multipart/form-data; boundary=b", b"no form at all"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="x"\r\n'),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
        ),
    ],
)
def test_a_form_that_can_not_be_read_is_refused(
    shared_agent: Agent, content_type: str, body: bytes
) -> None:
    response = requests.post(
        f"{shared_agent.url}/api/internal/upload",
        data=body,
        headers={"Authorization": f"Bearer {shared_agent.mint()}", "Content-Type": content_type},
        timeout=60,
    )
    assert (response.status_code, slug_of(response)) == (400, "malformed-request")


def test_a_form_cut_before_its_closing_boundary_is_no_upload(shared_agent: Agent) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n' + bytes(
        5000
    )
    response = requests.post(
        f"{shared_agent.url}/api/internal/upload",
        data=body,
        headers={
            "Authorization": f"Bearer {shared_agent.mint()}",
            "Content-Type": "multipart/form-data; boundary=b",
        },
        timeout=60,
    )
    assert (response.status_code, slug_of(response)) == (400, "malformed-request")


def test_a_cut_body_is_no_upload(shared_agent: Agent) -> None:
    connection = shared_agent.open_put("a.bin", 10 * SMALL_NODE.ring_buffer)
    connection.sendall(bytes(5 * SMALL_NODE.ring_buffer))
    connection.shutdown(socket.SHUT_WR)
    answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"body-cut" in answer
    connection.close()


def test_an_unknown_path_and_method_are_problems_too(shared_agent: Agent) -> None:
    nowhere = requests.get(f"{shared_agent.url}/nowhere", timeout=60)
    assert (nowhere.status_code, slug_of(nowhere)) == (404, "not-found")
    wrong = requests.delete(f"{shared_agent.url}/api/internal/upload", timeout=60)
    assert (wrong.status_code, slug_of(wrong)) == (405, "method-not-allowed")


def test_one_token_can_not_run_twice_at_once(shared_agent: Agent) -> None:
    token = shared_agent.mint()
    running = shared_agent.open_put("a.bin", 1 * MIB, token)
    shared_agent.wait_for_uploads(1)
    second = shared_agent.put("a.bin", b"x", token)
    assert (second.status_code, slug_of(second)) == (409, "upload-in-progress")
    running.close()
    shared_agent.wait_for_uploads(0)


def test_one_name_can_not_be_uploaded_twice_at_once(shared_agent: Agent) -> None:
    running = shared_agent.open_put("same.bin", 1 * MIB, shared_agent.mint(layout="named"))
    shared_agent.wait_for_uploads(1)
    second = shared_agent.put("same.bin", b"x", shared_agent.mint(layout="named"))
    assert (second.status_code, slug_of(second)) == (409, "name-taken")
    running.close()
    shared_agent.wait_for_uploads(0)
