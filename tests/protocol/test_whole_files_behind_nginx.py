"""Behind nginx: what is less than the whole file is refused by its head, before its body."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import quote

import pytest

from portside.wire.files import StoredFile
from tests.support.protocol.checks import check_nothing_left_behind, check_stored
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import Answer, Talker

DATA = b"0123456789"


class _AnyPath(http.client.HTTPSConnection):
    """Sends a path as the bytes that it is given: others than Python's clients do."""

    def _encode_request(self, request: str) -> bytes:
        return request.encode("latin-1")


WRONG = base64.b64encode(hashlib.sha512(b"other").digest()).decode()


def ask(
    talker: Talker,
    node: Node,
    headers: Mapping[str, str],
    path: str = "/api/internal/upload/a.bin",
    body: bytes | None = DATA,
    method: str = "PUT",
) -> Answer:
    """A request whose headers are what the test says; without a body it waits for one."""
    host, _, port = node.url.removeprefix("https://").partition(":")
    trusting = ssl.create_default_context(cafile=str(node.ca))
    connection = _AnyPath(host, int(port), timeout=60, context=trusting)
    connection.putrequest(method, path, skip_accept_encoding=True)
    announced = method == "PUT" and "Transfer-Encoding" not in headers
    length = {"Content-Length": str(len(DATA))} if announced else {}
    for name, value in {"Authorization": f"Bearer {talker.token}", **length, **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    found = {name.title(): value for name, value in response.headers.items()}
    answer = Answer(response.status, found, response.read())
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("headers", "status", "slug"),
    [
        ({"Content-Range": "bytes 6-15/16"}, 400, "partial-file"),
        ({"Content-Range": "bytes 0-9/*"}, 400, "partial-file"),
        ({"Content-Range": "lines 1-2/2"}, 400, "partial-file"),
        ({"Content-Type": "multipart/byteranges; boundary=b"}, 400, "partial-file"),
        ({"Upload-Complete": "?0"}, 400, "partial-file"),
        ({"Upload-Incomplete": "?1"}, 400, "partial-file"),
        ({"Upload-Offset": "7"}, 400, "partial-file"),
        ({"X-Chunk-Number": "1"}, 400, "partial-file"),
        ({"X-Total-Chunks": "2", "X-Chunk-Index": "0"}, 400, "partial-file"),
        ({"OC-Chunked": "1"}, 400, "partial-file"),
        ({"X-File-Size": "11"}, 400, "size-mismatch"),
        ({"X-Upload-Content-Length": "9"}, 400, "size-mismatch"),
        ({"X-Expected-Entity-Length": "11"}, 400, "size-mismatch"),
        ({"Upload-Length": "11"}, 400, "size-mismatch"),
        ({"Content-Range": "bytes 0-10/11"}, 400, "size-mismatch"),
        ({"X-File-Size": "large"}, 400, "malformed-request"),
        ({"X-HTTP-Method-Override": "PATCH"}, 400, "malformed-request"),
        ({"Content-Encoding": "gzip"}, 415, "media-type"),
        ({"Content-Encoding": "identity, br"}, 415, "media-type"),
        ({"Content-Type": "multipart/form-data; boundary=b"}, 415, "media-type"),
        ({"Content-Digest": "crc32c=:AAAAAA==:"}, 400, "malformed-request"),
        ({"Content-MD5": "x"}, 400, "malformed-request"),
        ({"Digest": "adler32=03da0195"}, 400, "malformed-request"),
        ({"Transfer-Encoding": "chunked", "Trailer": "Content-Digest"}, 400, "malformed-request"),
        ({"If-Match": '"x"'}, 412, "precondition-failed"),
        ({"If-Match": "*"}, 412, "precondition-failed"),
        ({"Expect": "200-ok"}, 417, "expectation-failed"),
        ({"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, 415, "media-type"),
        ({"X-Amz-Copy-Source": "/bucket/key"}, 400, "malformed-request"),
        ({"X-Amz-Checksum-CRC32": "AAAAAA=="}, 400, "malformed-request"),
        ({"X-Bz-Part-Number": "1"}, 400, "partial-file"),
    ],
)
def test_what_the_head_tells_is_refused_before_the_body(
    node: Node, headers: dict[str, str], status: int, slug: str
) -> None:
    talker = Talker(node.agent, base=node.url)
    refused = ask(talker, node, headers, body=None)
    assert (refused.status, refused.slug) == (status, slug)
    assert refused.headers.get("Accept-Encoding") == (
        "identity" if "Content-Encoding" in headers else None
    )
    # The token is as good as before.
    check_stored(talker, ask(talker, node, {}).body, DATA)


@pytest.mark.parametrize("query", ["partNumber=1&uploadId=u", "chunk=0&chunks=2", "size=11"])
def test_what_the_query_tells_is_refused_before_the_body(node: Node, query: str) -> None:
    talker = Talker(node.agent, base=node.url)
    refused = ask(talker, node, {}, f"/api/internal/upload/a.bin?{query}", body=None)
    assert (refused.status, refused.slug) in ((400, "partial-file"), (400, "size-mismatch"))


def test_slashes_too_many_are_in_nobodys_way(node: Node) -> None:
    for path in ("//api/internal/upload/a.bin", "/api/internal/upload//a.bin"):
        talker = Talker(node.agent, base=node.url, name=None)
        assert check_stored(talker, ask(talker, node, {}, path).body, DATA).name == "a.bin"


def test_a_transfer_coding_that_isnt_known_is_a_problem_of_its_sender(node: Node) -> None:
    talker = Talker(node.agent, base=node.url)
    refused = ask(talker, node, {"Transfer-Encoding": "gzip, chunked"}, body=None)
    assert (refused.status, refused.slug) == (400, "malformed-request")


@pytest.mark.parametrize("path", ["/api/internal/upload/", "/api/internal/upload"])
def test_a_url_without_a_name_is_refused_before_the_body(node: Node, path: str) -> None:
    refused = ask(Talker(node.agent, base=node.url, name=None), node, {}, path, body=None)
    assert (refused.status, refused.slug) == (400, "name-refused")


@pytest.mark.parametrize(
    "headers",
    [
        # curl -C - -T
        {"Content-Range": "bytes 0-9/10"},
        {"Content-Encoding": "identity", "Expect": "100-continue", "X-File-Size": "10"},
        {"Upload-Complete": "?1", "Upload-Length": "10", "Upload-Draft-Interop-Version": "8"},
        {"If-None-Match": "*", "Content-MD5": "eB5eJF1ptWaXm4bijSPyxw=="},
        # Tracing and proxies add without end: as many, and as long, as nginx takes.
        {f"X-{number}": "1" for number in range(900)},
        {"Content-Type": "a/b; c=" + "x" * 8160},
        {"Want-Repr-Digest": "sha-256=1", "Content-Type": "application/x-www-form-urlencoded"},
    ],
)
def test_what_says_that_it_is_whole_is_stored(node: Node, headers: dict[str, str]) -> None:
    talker = Talker(node.agent, base=node.url)
    check_stored(talker, ask(talker, node, headers).body, DATA)


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
def test_a_digest_of_any_algorithm_is_held(node: Node, field: str) -> None:
    talker = Talker(node.agent, base=node.url)
    for_wrong = ask(talker, node, {field: f"sha-512=:{WRONG}:"})
    assert (for_wrong.status, for_wrong.slug) == (422, "digest-mismatch")
    right = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    both = {"Repr-Digest": f"sha-256=:{right}:", field: f"sha-512=:{WRONG}:, sha-256=:{right}:"}
    assert ask(talker, node, both).status == 422
    check_nothing_left_behind(node.agent)
    check_stored(talker, ask(talker, node, {field: f"sha-256=:{right}:"}).body, DATA)


def test_a_name_that_is_taken_fails_the_condition_that_it_is_not(node: Node) -> None:
    first = Talker(node.agent, base=node.url, layout="named")
    check_stored(first, ask(first, node, {"If-None-Match": "*"}).body, DATA)
    # Sent again because its answer was lost: the same file.
    assert ask(first, node, {"If-None-Match": "*"}).status == 200
    taken = Talker(first.agent, base=node.url, layout="named", namespace=first.claims.namespace)
    refused = ask(taken, node, {"If-None-Match": "*"}, body=None)
    assert (refused.status, refused.slug) == (412, "precondition-failed")
    assert ask(taken, node, {}, body=None).slug == "name-taken"


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (quote("Bericht Größe (1).bin"), "Bericht_Größe_1_.bin"),
        (quote("Bericht Gro\u0308ße.bin"), "Bericht_Größe.bin"),
        # As curl sends what it is given.
        ("Größe.bin", "Größe.bin"),
    ],
)
def test_a_name_in_the_url_is_one_name_however_it_is_written(
    node: Node, raw: str, name: str
) -> None:
    talker = Talker(node.agent, base=node.url, name=None, layout="named")
    path = f"/api/internal/upload/{raw}".encode().decode("latin-1")
    stored = StoredFile.model_validate_json(ask(talker, node, {}, path).body)
    assert stored.name == name
    # And when it is asked for, by curl.
    place = f"/f/{stored.file_id}/{name}".encode().decode("latin-1")
    assert ask(talker, node, {}, place, b"", "GET").body == DATA


def test_a_name_in_another_charset_fails_nobody_whose_token_names_the_file(node: Node) -> None:
    for path in ("/api/internal/upload/gr%FC.bin", "/api/internal/upload/gr\xfc.bin"):
        named = Talker(node.agent, base=node.url)
        check_stored(named, ask(named, node, {}, path).body, DATA)
        refused = ask(Talker(node.agent, base=node.url, name=None), node, {}, path, body=None)
        assert (refused.status, refused.slug) == (400, "name-refused")
