"""Bytes that can't be taken: at a wrong offset, too many, too few, other ones. Nothing is lost."""

from __future__ import annotations

import base64
import hashlib
import os

import pytest

from tests.support.agent.process import SMALL_NODE, Agent
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of, heard
from tests.support.protocol.requests_by_hand import Connection, Ietf, Tus, checksum

RING = SMALL_NODE.ring_buffer


@pytest.mark.parametrize("wrong", [0, 4, 6, 10, 11, 2**62])
def test_an_offset_behind_or_ahead_is_a_conflict_that_tells_the_right_one(
    tus: Tus, wrong: int
) -> None:
    url = tus.created(10)
    assert tus.append(url, 0, b"01234").status_code == 204
    response = tus.append(url, wrong, b"x")
    assert heard(response) == (409, "offset-mismatch")
    assert response.headers["Upload-Offset"] == "5"
    document = response.json()
    assert (document["expected-offset"], document["provided-offset"]) == (5, wrong)
    assert tus.offset(url) == 5


@pytest.mark.parametrize("offset", ["-1", "x", "", "1.0", "0x5", str(2**70), "5, 5"])
def test_an_offset_that_is_no_number_is_refused(tus: Tus, offset: str) -> None:
    url = tus.created(10)
    assert tus.append(url, 0, b"01234").status_code == 204
    assert heard(tus.append(url, offset, b"x")) == (400, "malformed-request")
    assert tus.offset(url) == 5


def test_an_append_without_an_offset_is_refused(tus: Tus) -> None:
    url = tus.created(10)
    assert heard(tus.append(url, 0, b"x", {"Upload-Offset": None})) == (400, "malformed-request")


@pytest.mark.parametrize(
    "media", [None, "", "application/octet-stream", "text/plain", "application/partial-upload"]
)
def test_a_tus_append_of_another_media_type_is_refused(tus: Tus, media: str | None) -> None:
    url = tus.created(10)
    assert heard(tus.append(url, 0, b"x", {"Content-Type": media})) == (415, "media-type")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("media", [None, "application/octet-stream"])
def test_an_ietf_append_of_another_media_type_is_refused(ietf: Ietf, media: str | None) -> None:
    url = ietf.created(10)
    response = ietf.append(url, 0, b"x", headers={"Content-Type": media})
    assert heard(response) == (415, "media-type")
    assert ietf.offset(url) == 0


def test_an_append_in_both_dialects_at_once_is_tus(tus: Tus) -> None:
    url = tus.created(2)
    mixed = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "6"}
    # Were it the draft's, this would be the end of a file that is too short.
    response = tus.append(url, 0, b"x", mixed)
    assert (response.status_code, response.headers["Upload-Offset"]) == (204, "1")
    assert files_of(tus) == []


@pytest.mark.parametrize("length", [11, 5 * RING])
def test_a_body_past_the_length_is_refused_before_it_is_read(tus: Tus, length: int) -> None:
    url = tus.created(10)
    # Announced, never sent: the answer can't depend on the bytes.
    connection = Connection.append(tus, url, 0, length)
    answer = connection.answer()
    connection.close()
    assert (answer.status, answer.slug) == (413, "too-large")
    assert tus.offset(url) == 0


@pytest.mark.parametrize("length", [10, RING, 3 * RING])
def test_a_chunked_body_past_the_length_makes_no_file(tus: Tus, length: int) -> None:
    url = tus.created(length)
    content = os.urandom(length)
    pieces = [content[: length // 2], content[length // 2 :], b"more"]
    assert heard(tus.append(url, 0, iter(pieces))) == (413, "too-large")
    assert files_of(tus) == []
    offset = tus.offset(url)
    assert 0 <= offset <= length
    finished = tus.append(url, offset, content[offset:])
    assert finished.status_code == 200
    check_stored(tus, finished.text, content)


@pytest.mark.parametrize("missing", [1, RING])
def test_a_body_cut_short_keeps_what_came(tus: Tus, missing: int) -> None:
    content = bytes(16) + os.urandom(2 * RING)
    url = tus.created(len(content))
    connection = Connection.begun(tus, url, 0, len(content))
    connection.send(content[:-missing])
    connection.close()
    tus.agent.wait_for_uploads(0)
    assert tus.offset(url) == len(content) - missing
    finished = tus.append(url, len(content) - missing, content[-missing:])
    check_stored(tus, finished.text, content)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("md5 " + base64.b64encode(bytes(16)).decode(), (400, "checksum-unsupported")),
        ("SHA999 x", (400, "checksum-unsupported")),
        ("sha1", (400, "malformed-request")),
        ("sha1 ???", (400, "malformed-request")),
        ("sha1 YQ==", (400, "malformed-request")),
        ("sha256 " + base64.b64encode(bytes(20)).decode(), (400, "malformed-request")),
    ],
)
def test_a_checksum_that_can_not_be_compared_is_refused(
    tus: Tus, value: str, expected: tuple[int, str]
) -> None:
    url = tus.created(10)
    assert heard(tus.append(url, 0, b"x", {"Upload-Checksum": value})) == expected
    assert tus.offset(url) == 0


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
@pytest.mark.parametrize("length", [10, RING, 3 * RING + 5])
def test_a_checksum_that_does_not_match_leaves_the_offset_where_it_was(
    tus: Tus, algorithm: str, length: int
) -> None:
    content = bytes(16) + os.urandom(length)
    url = tus.created(len(content))
    assert tus.append(url, 0, content[:5]).status_code == 204
    wrong = tus.append(url, 5, content[5:], checksum(algorithm, b"other"))
    assert heard(wrong) == (460, "checksum-mismatch")
    assert tus.offset(url) == 5
    right = tus.append(url, 5, content[5:], checksum(algorithm, content[5:]))
    assert right.status_code == 200
    check_stored(tus, right.text, content)


def test_bytes_whose_checksum_never_came_to_be_compared_are_not_kept(tus: Tus) -> None:
    content = bytes(16) + os.urandom(2 * RING)
    url = tus.created(len(content))
    connection = Connection.begun(tus, url, 0, len(content), checksum("sha1", content))
    connection.send(content[:-1])
    connection.close()
    tus.agent.wait_for_uploads(0)
    assert tus.offset(url) == 0


def test_a_creation_with_a_wrong_checksum_can_be_sent_again(tus: Tus) -> None:
    wrong = tus.create(1, checksum("sha1", b"other"), b"x")
    assert heard(wrong) == (460, "checksum-mismatch")
    assert files_of(tus) == []
    right = tus.create(1, checksum("sha1", b"x"), b"x")
    check_stored(tus, right.text, b"x")


def test_the_content_must_be_what_the_token_says(tus: Tus, shared: Agent) -> None:
    promised = Tus(shared, sha256=hashlib.sha256(b"other").hexdigest())
    url = promised.created(1)
    assert heard(promised.append(url, 0, b"x")) == (422, "digest-mismatch")
    assert files_of(promised) == []
    # Other bytes can't be put in their place: the upload is over, the token isn't.
    assert promised.head(url).status_code in (404, 410)
    again = promised.create(5, body=b"other")
    check_stored(promised, again.text, b"other")


def test_content_that_does_not_fit_its_name_is_refused(shared: Agent) -> None:
    talker = Tus(shared, name="page.txt")
    content = b"<!DOCTYPE html><script>alert(1)</script>"
    # Byte by byte nothing looks like a script.
    url = talker.created(len(content))
    response = talker.append(url, 0, content[:1])
    for offset in range(1, len(content)):
        if response.status_code != 204:
            break
        response = talker.append(url, offset, content[offset : offset + 1])
    assert heard(response) == (415, "type-refused")
    assert files_of(talker) == []
    talker.end_all()
    check_nothing_left_behind(shared)
