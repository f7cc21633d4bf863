"""Uploads that can't begin: malformed, lying or not allowed. Each hears what is wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest

from portside.quantities import GIB
from tests.support.agent.process import Agent, slug_of
from tests.support.protocol.checks import heard
from tests.support.protocol.requests_by_hand import UPLOADS, Connection, Ietf, Tus, metadata

UNKNOWN = f"{UPLOADS}/{'0' * 32}"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("filename not*base64", id="no Base64"),
        pytest.param("filename YQABC", id="Base64 of no whole bytes"),
        pytest.param("filename YQ==,filename Yg==", id="a key twice"),
        pytest.param("filename YQ== YQ==", id="two values"),
        pytest.param("f\xfcr YQ==", id="no ASCII"),
        pytest.param("x " + "A" * 8000, id="longer than nginx takes"),
    ],
)
def test_metadata_that_can_not_be_read_is_refused(shared: Agent, value: str) -> None:
    talker = Tus(shared)
    sent = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": value}
    connection = Connection(talker, "POST", UPLOADS, sent)
    answer = connection.answer()
    connection.close()
    assert (answer.status, answer.slug) == (400, "malformed-request")


@pytest.mark.parametrize("value", ["file\x07name YQ==", "filename YQ==\x01", "filename \x7f"])
def test_a_control_character_in_a_header_is_no_http(shared: Agent, value: str) -> None:
    # gunicorn's own answer (RFC 9110, section 5.5): there is no request yet to answer to.
    sent = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Metadata": value}
    connection = Connection(Tus(shared), "POST", UPLOADS, sent)
    assert connection.answer().status == 400
    connection.close()


@pytest.mark.parametrize(
    ("filename", "slug"),
    [
        ("../../etc/passwd.bin", "name-refused"),
        ("a\nb.bin", "name-refused"),
        ("a\x00.bin", "name-refused"),
        ("....", "name-refused"),
        ("page.html", "type-refused"),
        ("none", "type-refused"),
    ],
)
def test_a_name_in_metadata_that_is_not_taken_is_refused(
    shared: Agent, filename: str, slug: str
) -> None:
    tus = Tus(shared, name=None).create(1, {"Upload-Metadata": metadata(filename=filename)})
    assert heard(tus) == (400 if slug == "name-refused" else 415, slug)


def test_a_name_in_another_charset_fails_nobody_whose_token_names_the_file(shared: Agent) -> None:
    latin = {"Upload-Metadata": "filename /C5iaW4="}
    assert heard(Tus(shared, name=None).create(1, latin)) == (400, "name-refused")
    talker = Tus(shared)
    assert talker.create(1, latin).status_code == 201
    talker.end_all()


def test_an_upload_without_a_name_is_refused(shared: Agent) -> None:
    assert heard(Tus(shared, name=None).create(1)) == (400, "name-refused")
    assert heard(Ietf(shared, name=None).create(1)) == (400, "name-refused")


@pytest.mark.parametrize("length", ["-1", "1.5", "0x10", "1e3", "+1", "1 1", "\u0661", str(2**70)])
def test_a_length_that_is_none_is_refused(shared: Agent, length: str) -> None:
    talker = Tus(shared)
    sent = {"Tus-Resumable": "1.0.0", "Upload-Length": length.encode().decode("latin-1")}
    connection = Connection(talker, "POST", UPLOADS, sent)
    answer = connection.answer()
    connection.close()
    assert (answer.status, answer.slug) == (400, "malformed-request")


@pytest.mark.parametrize(
    ("claims", "length", "expected"),
    [
        ({"max_size": 1000}, 1001, (413, "too-large")),
        ({"max_size": 1000}, 2**62, (413, "too-large")),
        ({"size": 1000}, 999, (400, "size-mismatch")),
        ({"size": 1000}, 1001, (413, "too-large")),
        ({"size": 100 * GIB}, 100 * GIB, (413, "too-large")),
    ],
)
def test_a_length_that_the_token_does_not_allow_is_refused(
    shared: Agent, claims: dict[str, Any], length: int, expected: tuple[int, str]
) -> None:
    assert heard(Tus(shared, **claims).create(length)) == expected


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Upload-Defer-Length": None}, id="neither told nor deferred"),
        pytest.param({"Upload-Length": "5"}, id="told and deferred"),
        pytest.param({"Upload-Defer-Length": "2"}, id="deferred twice"),
        pytest.param({"Upload-Defer-Length": "0"}, id="deferred not at all"),
    ],
)
def test_a_length_is_either_told_or_deferred(shared: Agent, headers: dict[str, str | None]) -> None:
    assert heard(Tus(shared).create(None, headers)) == (400, "malformed-request")


def test_a_deferred_length_is_held_to_the_token_when_it_is_told(tus: Tus, shared: Agent) -> None:
    bounded = Tus(shared, max_size=1000)
    url = bounded.created()
    told = bounded.append(url, 0, b"x", {"Upload-Length": "1001"})
    assert heard(told) == (413, "too-large")
    assert bounded.offset(url) == 0
    past = bounded.append(url, 0, bytes(1001))
    assert heard(past) == (413, "too-large")
    bounded.end_all()
    exact = Tus(shared, size=1000)
    url = exact.created()
    assert heard(exact.append(url, 0, b"x", {"Upload-Length": "5"})) == (400, "size-mismatch")
    exact.end_all()


def test_a_length_that_was_told_can_not_be_changed(tus: Tus) -> None:
    url = tus.created(10)
    changed = tus.append(url, 0, b"x", {"Upload-Length": "11"})
    assert heard(changed) == (400, "size-mismatch")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("version", ["0.2.2", "2.0.0", "1.0", "x"])
def test_a_version_that_is_not_spoken_is_refused(shared: Agent, version: str) -> None:
    talker = Tus(shared)
    for method, place in (("POST", UPLOADS), ("PATCH", UNKNOWN), ("HEAD", UNKNOWN)):
        response = talker.ask(method, place, {"Tus-Resumable": version, "Upload-Length": "1"})
        assert response.status_code == 412
        assert response.headers["Tus-Version"] == "1.0.0"
    assert slug_of(talker.ask("POST", UPLOADS, {"Tus-Resumable": version})) == "protocol-version"


def test_a_tus_request_without_its_version_is_refused(tus: Tus) -> None:
    url = tus.created(1)
    assert heard(tus.append(url, 0, b"x", {"Tus-Resumable": None})) == (412, "protocol-version")
    assert tus.offset(url) == 0


def test_a_creation_in_neither_dialect_is_refused(shared: Agent) -> None:
    response = Tus(shared).create(1, {"Tus-Resumable": None})
    assert heard(response) == (400, "malformed-request")


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        pytest.param({"aud": "s02"}, (403, "token-wrong-node"), id="another node's"),
        pytest.param({"exp": int(time.time()) - 120}, (401, "token-expired"), id="expired"),
    ],
)
def test_an_upload_is_only_begun_with_a_good_token(
    shared: Agent, token: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert heard(Tus(shared, **token).create(1)) == expected
    assert heard(Ietf(shared, **token).create(1)) == expected


def test_no_request_goes_without_a_token(tus: Tus) -> None:
    url = tus.created(1)
    for method, place in (("POST", UPLOADS), ("PATCH", url), ("HEAD", url), ("DELETE", url)):
        response = tus.ask(method, place, {"Authorization": None, "Tus-Resumable": "1.0.0"})
        assert response.status_code == 401
        assert "WWW-Authenticate" in response.headers
    assert tus.offset(url) == 0
