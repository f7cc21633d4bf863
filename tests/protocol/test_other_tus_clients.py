"""Clients of tus that are not run here, as their requests go over the wire, through nginx.

tus-java-client and its Android sibling, TUSKit, tusgo, aiotus: each has ways of its own to put what
the protocol says.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import requests

from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of, heard
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import TUS_MEDIA, UPLOADS, Headers, Tus, metadata

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = b"0123456789"
BYTES = {**TUS, "Content-Type": TUS_MEDIA}


@pytest.fixture
def tus(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tus]:
    """A talker who knows the node by nginx alone."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(node.ca))
    talker = Tus(node.agent, base=node.url)
    yield talker
    talker.end_all()
    check_nothing_left_behind(node.agent)


def _instead(tus: Tus, method: str, url: str, headers: Headers | None = None) -> requests.Response:
    """A POST that stands for another method."""
    return tus.ask("POST", url, {**TUS, "X-HTTP-Method-Override": method, **(headers or {})})


def test_tus_java_client_sends_chunked_posts_for_patches(tus: Tus) -> None:
    created = tus.ask("POST", UPLOADS, {**TUS, "Upload-Length": "10", "Upload-Metadata": ""})
    assert created.status_code == 201
    url = created.headers["Location"]
    sent = {**BYTES, "X-HTTP-Method-Override": "PATCH", "Expect": "100-continue"}
    for offset in (0, 5):
        piece = iter([CONTENT[offset : offset + 5]])
        appended = tus.ask("POST", url, {**sent, "Upload-Offset": str(offset)}, piece)
        assert (appended.status_code, appended.content) == (204, b"")
        assert appended.headers["Upload-Offset"] == str(offset + 5)
    # It ends with one more chunked request that has nothing to bring.
    for method, more in (("PATCH", {}), ("POST", {"X-HTTP-Method-Override": "PATCH"})):
        ended = tus.ask(method, url, {**BYTES, "Upload-Offset": "10", **more}, iter([]))
        assert ended.status_code == 204
    check_stored(tus, tus.create(10).text, CONTENT)


def test_a_post_stands_for_what_a_client_can_not_send(tus: Tus) -> None:
    url = tus.created(10)
    unknown = f"{UPLOADS}/{'0' * 32}"
    assert tus.append(url, 0, b"0123").status_code == 204
    asked = _instead(tus, "HEAD", url)
    assert (asked.status_code, asked.headers["Upload-Offset"], asked.content) == (200, "4", b"")
    assert heard(_instead(tus, "HEAD", unknown)) == (404, "upload-unknown")
    assert heard(_instead(tus, "PATCH", unknown, BYTES)) == (404, "upload-unknown")
    assert heard(_instead(tus, "PATCH", url, {**BYTES, "Upload-Offset": "7"})) == (
        409,
        "offset-mismatch",
    )
    assert heard(_instead(tus, "PUT", url)) == (400, "malformed-request")
    assert heard(_instead(tus, "POST", url, {"Upload-Length": "10"})) == (405, "method-not-allowed")
    assert heard(_instead(tus, "DELETE", UPLOADS)) == (405, "method-not-allowed")
    assert _instead(tus, "delete", url).status_code == 204
    assert heard(_instead(tus, "DELETE", url)) == (410, "upload-expired")


def test_tuskits_first_releases_take_the_location_as_it_comes(tus: Tus) -> None:
    talker = Tus(tus.agent, base=tus.base, name=None, layout="named")
    encoded = base64.b64encode("日本.bin".encode()).decode()
    sent = {
        **TUS,
        "Upload-Extension": "creation",
        "Upload-Length": "10",
        "Upload-Metadata": f"fileName {encoded}, filetype eC95",
    }
    created = talker.ask("POST", f"{UPLOADS}/", sent)
    assert created.status_code == 201
    assert created.headers["Location"].startswith(f"{tus.base}{UPLOADS}/")
    url = created.headers["Location"]
    assert talker.append(url, 0, CONTENT, {"Accept": None}).status_code == 204
    assert [path.name for path in files_of(talker)] == ["日本.bin"]


@pytest.mark.parametrize("collection", [f"{UPLOADS}/", "/api//v1/uploads//"])
def test_slashes_too_many_lead_to_the_same_upload(tus: Tus, collection: str) -> None:
    sent = {**TUS, "Upload-Length": "10"}
    created = tus.ask("POST", collection, sent)
    assert created.status_code == 201
    place = f"{collection}{created.headers['Location'].rpartition('/')[2]}/"
    assert heard(tus.append(place, 3, b"x")) == (409, "offset-mismatch")
    assert tus.append(place, 0, b"0123").status_code == 204
    assert tus.offset(place) == 4
    assert tus.ask("OPTIONS", place).headers["Tus-Version"] == "1.0.0"
    assert tus.delete(place).status_code == 204
    assert tus.head(place).status_code == 410


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        pytest.param({"Host": "localhost:2222"}, "https://localhost:2222", id="a tunnel"),
        pytest.param({"Host": "[2001:db8::1]:8443"}, "https://[2001:db8::1]:8443", id="IPv6"),
        pytest.param({"Host": "cdn.example"}, "https://cdn.example", id="another name"),
        pytest.param({"Via": "1.1 x.cloudfront.net"}, "", id="a CDN with its own name for it"),
        pytest.param({"X-Forwarded-Proto": "http"}, "", id="a proxy without TLS"),
        pytest.param({"X-Forwarded-Host": "cdn.example"}, "", id="a proxy with another name"),
    ],
)
def test_answers_lead_back_the_way_that_the_client_came(
    tus: Tus, headers: dict[str, str], origin: str
) -> None:
    created = tus.ask("POST", UPLOADS, {**TUS, "Upload-Length": "10", **headers})
    place = created.headers["Location"].removeprefix(origin)
    assert place.startswith(f"{UPLOADS}/")
    tus.begun = [place]
    stored = tus.append(place, 0, CONTENT, headers).headers["Content-Location"]
    assert stored == f"{origin}/api/v1/files/{tus.claims.file_id}"


def test_metadata_that_fit_one_header_are_kept_whole(tus: Tus) -> None:
    # Names of an app in Japanese are four times as long on the wire.
    told = metadata(filename="写真.bin", caption="写" * 1950)
    assert 7700 < len(told) <= 8000
    created = tus.create(10, {"Upload-Metadata": told})
    assert created.status_code == 201
    assert tus.head(created.headers["Location"]).headers["Upload-Metadata"] == told


def test_parts_are_joined_by_whatever_name_the_node_was_reached(tus: Tus) -> None:
    urls = []
    for content in (CONTENT[:6], CONTENT[6:]):
        part = {"Upload-Concat": "Partial"}
        urls.append(tus.create(len(content), part, content).headers["Location"])
    elsewhere = [f"https://other.example:8443{url.removeprefix(tus.base)}/" for url in urls]
    for named in (elsewhere, urls):
        final = {**TUS, "Upload-Concat": "Final;" + " ".join(named)}
        check_stored(tus, tus.ask("POST", UPLOADS, final).text, CONTENT)
    turned = {**TUS, "Upload-Concat": "final;" + " ".join(reversed(urls))}
    assert heard(tus.ask("POST", UPLOADS, turned)) == (409, "token-used")


def test_an_empty_append_and_an_empty_file_are_taken(tus: Tus) -> None:
    url = tus.created(10)
    for media in ("application/offset+octet-stream; charset=UTF-8", TUS_MEDIA.title()):
        sent = {**TUS, "Upload-Offset": "0", "Content-Type": media, "Content-Length": "0"}
        assert tus.ask("PATCH", url, sent).status_code == 204
    empty = Tus(tus.agent, base=tus.base)
    created = empty.ask("POST", UPLOADS, {**BYTES, "Upload-Length": "0"})
    assert created.status_code == 201
    check_stored(empty, created.text, b"")
    assert heard(empty.delete(created.headers["Location"])) == (403, "upload-complete")


def test_what_is_not_there_is_not_remembered_by_a_cache(tus: Tus) -> None:
    missing = tus.head(f"{UPLOADS}/{'0' * 32}")
    assert (missing.status_code, missing.content) == (404, b"")
    assert missing.headers["Cache-Control"] == "no-store"
    assert missing.headers["Tus-Resumable"] == "1.0.0"


def test_a_head_without_a_version_is_answered(tus: Tus) -> None:
    url = tus.created(10)
    asked = tus.ask("HEAD", url)
    assert (asked.status_code, asked.headers["Upload-Offset"]) == (204, "0")


def test_other_versions_and_trailers_hear_what_is_spoken(tus: Tus) -> None:
    url = tus.created(10)
    append = {"Content-Type": TUS_MEDIA, "Upload-Offset": "0"}
    refused = tus.ask("PATCH", url, append, b"x")
    assert heard(refused) == (412, "protocol-version")
    assert refused.headers["Tus-Version"] == "1.0.0"
    trailing = tus.ask("PATCH", url, {**TUS, **append, "Trailer": "Upload-Checksum"}, iter([b"x"]))
    assert heard(trailing) == (400, "checksum-unsupported")
    assert tus.ask("OPTIONS", UPLOADS, {"Tus-Resumable": "0.9", "Authorization": None}).ok
