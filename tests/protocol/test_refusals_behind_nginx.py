"""Behind nginx a refusal comes before the body, in the same words and with the same headers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portside.quantities import GIB, KIB
from tests.support.protocol.checks import (
    check_nothing_left_behind,
    check_stored,
    heard,
    heard_in_the_draft,
)
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import TUS_MEDIA, UPLOADS, Ietf, Tus, metadata


@pytest.fixture
def tus(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tus]:
    """A talker who knows the node by nginx alone."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(node.ca))
    talker = Tus(node.agent, base=node.url)
    yield talker
    talker.end_all()
    check_nothing_left_behind(node.agent)


def test_a_wrong_offset_hears_the_right_one(tus: Tus) -> None:
    url = tus.created(10)
    assert tus.append(url, 0, b"01234").status_code == 204
    wrong = tus.append(url, 7, b"x")
    assert heard(wrong) == (409, "offset-mismatch")
    assert wrong.headers["Upload-Offset"] == "5"
    assert (wrong.json()["expected-offset"], wrong.json()["provided-offset"]) == (5, 7)


def test_a_version_that_is_not_spoken_hears_the_one_that_is(tus: Tus) -> None:
    response = tus.create(1, {"Tus-Resumable": "0.2.2"})
    assert heard(response) == (412, "protocol-version")
    assert response.headers["Tus-Version"] == "1.0.0"


def test_every_refusal_keeps_its_status(tus: Tus) -> None:
    url = tus.created(10)
    append = {"Tus-Resumable": "1.0.0", "Content-Type": TUS_MEDIA, "Upload-Offset": "0"}
    unknown = f"{UPLOADS}/{'0' * 32}"
    assert heard(tus.ask("PATCH", url, {**append, "Content-Type": "a/b"}, b"x")) == (
        415,
        "media-type",
    )
    assert heard(tus.ask("PATCH", unknown, append, b"x")) == (404, "upload-unknown")
    assert heard(tus.ask("DELETE", unknown, append)) == (404, "upload-unknown")
    assert tus.ask("HEAD", unknown, append).status_code == 404
    assert heard(tus.ask("PATCH", url, append, bytes(11))) == (413, "too-large")
    assert heard(tus.create(11)) == (409, "token-used")
    assert heard(Tus(tus.agent, base=tus.base).create(2 * GIB)) == (413, "too-large")
    assert heard(tus.ask("PATCH", url, {**append, "Authorization": None}, b"x")) == (
        401,
        "token-missing",
    )
    checked = {**append, "Upload-Checksum": "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="}
    assert heard(tus.ask("PATCH", url, checked, b"x")) == (460, "checksum-mismatch")
    assert heard(tus.ask("PATCH", url, {**checked, "Upload-Checksum": "md5 x"}, b"x")) == (
        400,
        "checksum-unsupported",
    )
    assert tus.delete(url).status_code == 204
    assert heard(tus.ask("PATCH", url, append, b"x")) == (410, "upload-expired")


def test_a_refusal_in_the_draft_says_all_that_the_draft_wants(tus: Tus) -> None:
    ietf = Ietf(tus.agent, max_size=10, base=tus.base)
    past = ietf.create(11)
    assert heard(past) == (413, "too-large")
    assert (past.headers["Upload-Limit"], past.headers["Upload-Complete"]) == ("max-size=10", "?0")
    url = ietf.created(5)
    behind = ietf.append(url, 3, b"x")
    assert heard_in_the_draft(behind) == (409, "mismatching-upload-offset")
    assert behind.headers["Upload-Offset"] == "0"
    untyped = ietf.append(url, 0, b"x", headers={"Content-Type": "text/plain"})
    assert heard(untyped) == (415, "media-type")
    assert untyped.headers["Accept-Patch"] == "application/partial-upload"
    silent = ietf.append(url, 0, b"x", headers={"Upload-Complete": None})
    assert heard(silent) == (400, "malformed-request")
    turned = {"Upload-Draft-Interop-Version": "3", "Upload-Incomplete": "?1"}
    older = ietf.append(url, 3, b"x", headers={**turned, "Upload-Complete": None})
    assert (older.status_code, older.headers["Upload-Incomplete"]) == (409, "?1")
    for method in ("HEAD", "GET"):
        assert ietf.ask(method, url).headers["Upload-Offset"] == "0"
        assert ietf.ask(method, url, {"Upload-Offset": "0"}).status_code == 400
    # Refused before it is sent, and the end of the upload none the less.
    assert heard_in_the_draft(ietf.append(url, 0, bytes(6))) == (400, "inconsistent-upload-length")
    assert ietf.head(url).status_code == 410
    part = ietf.ask("PUT", "/api/internal/upload/file.bin", {"Upload-Complete": "?0"}, b"x")
    assert heard(part) == (400, "partial-file")


@pytest.mark.parametrize("size", [7 * KIB, 10 * KIB, 40 * KIB])
def test_metadata_that_are_too_long_are_a_problem_of_their_sender(tus: Tus, size: int) -> None:
    response = tus.create(1, {"Upload-Metadata": metadata(filename="a" * size)})
    assert heard(response) == (400, "malformed-request")


@pytest.mark.parametrize("value", ["filename YQ==\x01", "filename \x7f", "file\x0cname YQ=="])
def test_a_control_character_in_a_header_is_a_problem_of_its_sender(tus: Tus, value: str) -> None:
    response = tus.create(1, {"Upload-Metadata": value})
    assert heard(response) == (400, "malformed-request")


def test_what_is_not_refused_is_stored(tus: Tus) -> None:
    url = tus.created(5)
    check_stored(tus, tus.append(url, 0, b"01234").text, b"01234")
