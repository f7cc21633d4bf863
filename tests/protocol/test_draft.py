"""draft-ietf-httpbis-resumable-upload-12: what its server must, should and must not do.

docs/design/draft-12.md names every requirement, and the test here that holds it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import requests

from agent.dialects.draft import PARTIAL_TYPE
from portside.quantities import GIB
from tests.support.agent.process import Agent, slug_of
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of, heard
from tests.support.protocol.checks import heard_in_the_draft as heard_in_draft
from tests.support.protocol.requests_by_hand import UPLOADS, Connection, Ietf, Tus

INCONSISTENT = (400, "inconsistent-upload-length")
MISMATCHING = (409, "mismatching-upload-offset")

Makes = Callable[..., Ietf]


@pytest.fixture
def make(shared: Agent) -> Iterator[Makes]:
    """Makes talkers, each with a token of its own."""
    made: list[Ietf] = []

    def talker(**claims: Any) -> Ietf:
        made.append(Ietf(shared, **claims))
        return made[-1]

    yield talker
    for each in made:
        for url in each.begun:
            each.delete(url)
    check_nothing_left_behind(shared)


def _state(answer: requests.Response) -> tuple[int, str, str]:
    return answer.status_code, answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]


def _limits(answer: requests.Response) -> dict[str, int]:
    pairs = (pair.strip().split("=") for pair in answer.headers["Upload-Limit"].split(","))
    return {name: int(value) for name, value in pairs}


def _digest(name: str, data: bytes) -> str:
    digest = hashlib.new(name.replace("-", ""), data).digest()
    return f"{name}=:{base64.b64encode(digest).decode()}:"


def test_an_upload_is_created_carried_on_asked_for_and_completed(make: Makes) -> None:
    talker = make()
    created = talker.create(10, body=b"01")
    assert _state(created) == (201, "2", "?0")
    assert set(_limits(created)) == {"max-size", "max-age"}
    url = created.headers["Location"]
    # Section 4.3.2: everything that is known of it.
    for method in ("HEAD", "GET"):
        asked = talker.ask(method, url)
        assert _state(asked) == (204, "2", "?0")
        assert asked.headers["Upload-Length"] == "10"
        assert asked.headers["Cache-Control"] == "no-store"
        assert _limits(asked)["max-size"] == talker.claims.size_limit
    assert _state(talker.append(url, 2, b"234")) == (204, "5", "?0")
    # An empty append changes nothing.
    assert _state(talker.append(url, 5)) == (204, "5", "?0")
    last = talker.append(url, 5, b"56789", complete=True)
    assert _state(last) == (200, "10", "?1")
    check_stored(talker, last.text, b"0123456789")
    assert _state(talker.head(url)) == (204, "10", "?1")
    # Section 4.3: whose last answer was lost asks for what became of it.
    again = talker.ask("GET", url)
    assert (_state(again), again.text) == ((200, "10", "?1"), last.text)


@pytest.mark.parametrize("content", [b"", b"0123456789"])
def test_a_whole_file_goes_into_its_creation(make: Makes, content: bytes) -> None:
    talker = make()
    created = talker.create(len(content), complete=True, body=content)
    assert _state(created) == (201, str(len(content)), "?1")
    check_stored(talker, created.text, content)
    assert _state(talker.head(created.headers["Location"])) == (204, str(len(content)), "?1")


def test_a_length_that_nobody_told_is_that_of_the_end(make: Makes) -> None:
    talker = make()
    url = talker.created()
    assert "Upload-Length" not in talker.head(url).headers
    talker.append(url, 0, b"01234")
    ended = talker.append(url, 5, complete=True)
    assert _state(ended) == (200, "5", "?1")
    assert talker.head(url).headers["Upload-Length"] == "5"


def test_an_upload_of_full_length_is_open_until_its_client_says_that_it_is_complete(
    make: Makes,
) -> None:
    # Section 4.1.3: length and offset don't tell whether an upload is complete.
    talker = make()
    url = talker.created(5)
    assert _state(talker.append(url, 0, b"01234")) == (204, "5", "?0")
    assert _state(talker.head(url)) == (204, "5", "?0")
    assert files_of(talker) == []
    ended = talker.append(url, 5, complete=True)
    assert _state(ended) == (200, "5", "?1")
    check_stored(talker, ended.text, b"01234")


CREATIONS: list[Any] = [
    pytest.param({"Upload-Length": "100", "Upload-Complete": "?1"}, b"01234", id="too few"),
    pytest.param({"Upload-Length": "3", "Upload-Complete": "?1"}, b"01234", id="too many"),
    pytest.param({"Upload-Length": "3", "Upload-Complete": "?0"}, b"01234", id="part too long"),
    pytest.param({"Upload-Length": "1", "Upload-Complete": "?1"}, None, id="none"),
    pytest.param({"Upload-Length": "100", "Upload-Complete": "?1"}, iter([b"01"]), id="chunked"),
]


@pytest.mark.parametrize(("headers", "body"), CREATIONS)
def test_a_creation_whose_lengths_contradict_each_other_is_refused(
    make: Makes, headers: Mapping[str, str], body: Any
) -> None:
    talker = make()
    assert heard_in_draft(talker.ask("POST", UPLOADS, headers, body)) == INCONSISTENT
    assert files_of(talker) == []
    # What a chunked one began goes on with its token, and is ended with it here.
    talker.create(100 if headers["Upload-Length"] == "100" else None)


@pytest.mark.parametrize("value", ["?2", "1", "true", "?", "?1;a=b c", "?01", '"?1"'])
def test_a_creation_that_does_not_say_whether_more_comes_is_refused(
    make: Makes, value: str
) -> None:
    talker = make()
    response = talker.ask("POST", UPLOADS, {"Upload-Complete": value, "Upload-Length": "1"}, b"x")
    assert heard(response) == (400, "malformed-request")
    assert "Location" not in response.headers


def test_a_creation_that_begins_in_the_middle_is_refused(make: Makes) -> None:
    talker = make()
    for complete in (False, True):
        refused = talker.create(10, complete, {"Upload-Offset": "5"}, b"56789")
        assert heard(refused) == (400, "malformed-request")
    assert files_of(talker) == []
    assert talker.create(headers={"Upload-Offset": "0"}).status_code == 201


def test_fields_that_are_no_structured_ones_are_ignored(make: Makes) -> None:
    # Section 4.1.3; with a parameter it is one (RFC 9651).
    for value, told in [("x", None), ("5.0", None), ("-5", None), ("1, 2", None), ("5;a", "5")]:
        talker = make()
        created = talker.create(headers={"Upload-Length": value})
        assert created.status_code == 201
        assert talker.head(created.headers["Location"]).headers.get("Upload-Length") == told


APPENDS: list[Any] = [
    pytest.param({"Upload-Offset": "4"}, b"x", MISMATCHING, id="an offset behind"),
    pytest.param({"Upload-Offset": "6"}, b"x", MISMATCHING, id="an offset ahead"),
    pytest.param({"Upload-Offset": "9" * 15}, b"x", MISMATCHING, id="an offset far ahead"),
    pytest.param({"Upload-Offset": "0"}, bytes(99), MISMATCHING, id="past the end, and behind"),
    pytest.param({"Upload-Length": "11"}, b"x", INCONSISTENT, id="another length"),
    pytest.param({"Upload-Length": "5"}, b"", INCONSISTENT, id="a length that is reached"),
    pytest.param({"Upload-Complete": "?1"}, b"x", INCONSISTENT, id="complete too early"),
    pytest.param({"Upload-Complete": "?1"}, b"", INCONSISTENT, id="complete with nothing"),
]


@pytest.mark.parametrize(("headers", "body", "expected"), APPENDS)
def test_an_append_that_contradicts_its_upload_is_refused_and_changes_nothing(
    make: Makes, headers: Mapping[str, str], body: bytes, expected: tuple[int, str]
) -> None:
    talker = make()
    url = talker.create(10, body=b"01234").headers["Location"]
    response = talker.append(url, 5, body, headers=headers)
    assert heard_in_draft(response) == expected
    if expected == MISMATCHING:
        document = response.json()
        assert response.headers["Upload-Offset"] == "5"
        assert document["expected-offset"] == 5
        assert document["provided-offset"] == int(headers["Upload-Offset"])
    assert _state(talker.head(url)) == (204, "5", "?0")


UNREADABLE: list[Any] = [
    pytest.param({"Upload-Complete": None}, (400, "malformed-request"), id="nothing of the end"),
    pytest.param({"Upload-Complete": "yes"}, (400, "malformed-request"), id="no boolean"),
    pytest.param({"Upload-Offset": None}, (400, "malformed-request"), id="no offset"),
    pytest.param({"Upload-Offset": "x"}, (400, "malformed-request"), id="an offset of letters"),
    pytest.param({"Upload-Offset": "5.0"}, (400, "malformed-request"), id="a decimal"),
    pytest.param({"Upload-Offset": "-5"}, (400, "malformed-request"), id="a negative one"),
    pytest.param({"Upload-Offset": "5, 5"}, (400, "malformed-request"), id="two of them"),
    pytest.param({"Content-Type": "text/plain"}, (415, "media-type"), id="another type"),
    pytest.param({"Content-Type": None}, (415, "media-type"), id="no type"),
    pytest.param({"Content-Digest": "sha-256=:AAAA:"}, (400, "malformed-request"), id="digest"),
    pytest.param({"Content-Digest": "x=:AAAA:"}, (400, "malformed-request"), id="unknown digest"),
]


@pytest.mark.parametrize(("headers", "expected"), UNREADABLE)
def test_an_append_that_can_not_be_understood_is_refused_and_changes_nothing(
    make: Makes, headers: Mapping[str, str | None], expected: tuple[int, str]
) -> None:
    talker = make()
    url = talker.create(10, body=b"01234").headers["Location"]
    response = talker.append(url, 5, b"x", headers=headers)
    assert heard(response) == expected
    assert response.headers["Upload-Complete"] == "?0"
    # RFC 5789, section 2.2.
    assert response.headers.get("Accept-Patch") == (PARTIAL_TYPE if expected[0] == 415 else None)
    assert _state(talker.head(url)) == (204, "5", "?0")
    assert _state(talker.append(url, "5;as=read", b"x")) == (204, "6", "?0")


@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_more_bytes_than_were_announced_end_the_upload(
    make: Makes, chunked: bool, complete: bool
) -> None:
    # Section 4.4.2: rejected, and any further interaction as well.
    talker = make()
    url = talker.created(5)
    assert _state(talker.append(url, 0, b"01234")) == (204, "5", "?0")
    past = talker.append(url, 5, iter([b"5"]) if chunked else b"5", complete)
    assert heard_in_draft(past) == INCONSISTENT
    assert talker.head(url).status_code == 410
    assert heard(talker.append(url, 5)) == (410, "upload-expired")
    assert files_of(talker) == []
    # The token is none the poorer.
    check_stored(talker, talker.create(6, complete=True, body=b"012345").text, b"012345")


def test_a_complete_upload_takes_no_more(make: Makes) -> None:
    talker = make()
    created = talker.create(5, complete=True, body=b"01234")
    url = created.headers["Location"]
    for complete in (False, True):
        assert heard_in_draft(talker.append(url, 5, b"5", complete)) == INCONSISTENT
        # Who sends the last bytes once more has not heard that they came.
        assert heard_in_draft(talker.append(url, 0, b"01234", complete)) == MISMATCHING
    replayed = talker.append(url, 5, complete=True)
    assert (_state(replayed), replayed.text) == ((200, "5", "?1"), created.text)
    assert _state(talker.head(url)) == (204, "5", "?1")
    check_stored(talker, created.text, b"01234")


def test_a_cancelled_upload_is_gone(make: Makes) -> None:
    talker = make()
    url = talker.create(10, body=b"01234").headers["Location"]
    assert talker.delete(url).status_code == 204
    for method in ("HEAD", "GET", "DELETE"):
        assert talker.ask(method, url).status_code == 410
    assert heard(talker.append(url, 5, b"x")) == (410, "upload-expired")
    unknown = f"{UPLOADS}/{'0' * 32}"
    for method in ("HEAD", "GET", "DELETE"):
        assert talker.ask(method, unknown).status_code == 404


def test_a_complete_upload_that_is_cancelled_leaves_its_file(make: Makes) -> None:
    talker = make()
    created = talker.create(5, complete=True, body=b"01234")
    url = created.headers["Location"]
    assert talker.delete(url).status_code == 204
    assert talker.head(url).status_code == 410
    check_stored(talker, created.text, b"01234")


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE"])
@pytest.mark.parametrize("sent", [{"Upload-Offset": "0"}, {"Upload-Complete": "?0"}])
def test_a_question_that_tells_an_offset_is_refused(
    make: Makes, method: str, sent: Mapping[str, str]
) -> None:
    talker = make()
    url = talker.created(10)
    assert talker.ask(method, url, sent).status_code == 400
    assert _state(talker.head(url)) == (204, "0", "?0")


def test_a_limit_that_is_met_is_told(make: Makes) -> None:
    # Section 4.1.4.
    limited = make(max_size=100)
    for refused in (
        limited.create(101),
        limited.create(complete=True, body=bytes(101)),
        # Too long, and not what it says either.
        limited.create(101, complete=True, body=b"x"),
    ):
        assert heard(refused) == (413, "too-large")
        assert _limits(refused)["max-size"] == 100
    url = limited.created()
    for body in (bytes(101), iter([bytes(101)])):
        refused = limited.append(url, 0, body)
        assert heard(refused) == (413, "too-large")
        assert (_limits(refused)["max-size"], refused.headers["Upload-Complete"]) == (100, "?0")
    assert _state(limited.append(url, 0, bytes(100), complete=True)) == (200, "100", "?1")
    announced = _limits(limited.ask("OPTIONS"))["max-size"]
    past = make(max_size=announced * 2).create(announced + 1)
    assert heard(past) == (413, "too-large")
    assert _limits(past)["max-size"] >= GIB


def test_what_is_spoken_is_told_before_an_upload(make: Makes) -> None:
    for headers in ({}, {"Upload-Complete": "?1"}):
        answer = make().ask("OPTIONS", UPLOADS, {**headers, "Authorization": None})
        assert answer.status_code == 204
        assert answer.headers["Accept-Patch"] == PARTIAL_TYPE
        assert _limits(answer)["max-size"] > 0


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_a_content_digest_is_that_of_the_request(make: Makes, algorithm: str) -> None:
    talker = make()
    right, wrong = _digest(algorithm, b"01234"), _digest(algorithm, b"other")
    refused = talker.create(10, headers={"Content-Digest": wrong}, body=b"01234")
    assert heard_in_draft(refused) == (400, "digest-mismatching-values")
    empty = talker.create(10, headers={"Content-Digest": wrong})
    assert heard_in_draft(empty) == (400, "digest-mismatching-values")
    url = talker.create(10, headers={"Content-Digest": right}, body=b"01234").headers["Location"]
    refused = talker.append(url, 5, b"56789", True, {"Content-Digest": right})
    assert heard_in_draft(refused) == (400, "digest-mismatching-values")
    assert _state(talker.head(url)) == (204, "5", "?0")
    both = {"Content-Digest": f"{_digest(algorithm, b'56789')}, unknown=:AA==:"}
    ended = talker.append(url, 5, b"56789", True, both)
    check_stored(talker, ended.text, b"0123456789")


def test_a_representation_digest_is_that_of_the_whole_file(make: Makes) -> None:
    talker = make()
    url = talker.create(10, headers={"Repr-Digest": _digest("sha-256", b"0123456789")}).headers[
        "Location"
    ]
    assert _state(talker.append(url, 0, b"01234")) == (204, "5", "?0")
    assert heard(talker.append(url, 5, b"other", complete=True)) == (422, "digest-mismatch")
    assert talker.head(url).status_code == 410
    assert files_of(talker) == []


def test_a_representation_digest_may_come_with_the_end(make: Makes) -> None:
    talker = make()
    url = talker.create(10, body=b"01234").headers["Location"]
    other = {"Repr-Digest": _digest("sha-256", b"other")}
    refused = talker.append(url, 5, b"56789", complete=True, headers=other)
    assert heard(refused) == (422, "digest-mismatch")
    assert files_of(talker) == []
    talker = make()
    url = talker.create(10, body=b"01234").headers["Location"]
    right = {"Repr-Digest": _digest("sha-256", b"0123456789")}
    ended = talker.append(url, 5, b"56789", complete=True, headers=right)
    check_stored(talker, ended.text, b"0123456789")


def test_a_creation_that_is_repeated_is_compared_with_the_digest_of_all_its_content(
    make: Makes,
) -> None:
    talker = make()
    assert talker.create(10, body=b"01234").status_code == 201
    content = {"Content-Digest": _digest("sha-256", b"0123456789")}
    again = talker.create(10, complete=True, headers=content, body=b"0123456789")
    check_stored(talker, again.text, b"0123456789")


@pytest.mark.parametrize("question", ["HEAD", "PATCH", "DELETE"])
def test_a_newer_request_ends_an_older_one_that_hangs(make: Makes, question: str) -> None:
    # Section 4.6.
    talker = make()
    url = talker.created(10)
    running = talker.agent.status()["slots"]["used"]
    sent = {
        "Upload-Complete": "?0",
        "Upload-Offset": "0",
        "Content-Type": PARTIAL_TYPE,
        "Content-Length": "10",
    }
    hanging = Connection(talker, "PATCH", url, sent)
    talker.agent.wait_for_uploads(running + 1)
    hanging.send(b"01234")
    if question == "HEAD":
        assert talker.offset(url) in (0, 5)
    elif question == "DELETE":
        assert talker.delete(url).status_code == 204
    elif question == "PATCH":
        # The bytes of the older request were kept, or none of them: an offset never goes back.
        assert talker.append(url, 0, b"0").status_code in (204, 409)
    assert hanging.ended()
    hanging.close()
    offset = talker.head(url).headers.get("Upload-Offset", "gone")
    assert offset in {"HEAD": ("0", "5"), "PATCH": ("1", "5"), "DELETE": ("gone",)}[question]


VERSIONS: list[Any] = [
    # Number, field, "more comes", "complete", whether an append has a type, whether length is end.
    pytest.param("3", "Upload-Incomplete", "?1", "?0", False, False, id="3"),
    pytest.param("4", "Upload-Complete", "?0", "?1", False, False, id="4"),
    pytest.param("5", "Upload-Complete", "?0", "?1", False, True, id="5"),
    pytest.param("6", "Upload-Complete", "?0", "?1", True, True, id="6"),
    pytest.param("7", "Upload-Complete", "?0", "?1", True, False, id="7"),
    pytest.param("8", "Upload-Complete", "?0", "?1", True, False, id="8"),
    pytest.param("9", "Upload-Complete", "?0", "?1", True, False, id="9"),
    pytest.param("2", "Upload-Complete", "?0", "?1", True, False, id="unknown"),
    pytest.param("text", "Upload-Complete", "?0", "?1", True, False, id="none at all"),
]


@pytest.mark.parametrize(("number", "field", "more", "end", "typed", "by_length"), VERSIONS)
def test_every_version_is_spoken_as_its_clients_speak_it(
    make: Makes, number: str, field: str, more: str, end: str, typed: bool, by_length: bool
) -> None:
    talker = make()
    version = {"Upload-Draft-Interop-Version": number}
    created = talker.ask("POST", UPLOADS, {**version, field: more}, b"01")
    assert (created.status_code, created.headers[field]) == (201, more)
    known = number if number.isdigit() and number != "2" else None
    assert created.headers.get("Upload-Draft-Interop-Version") == known
    url = created.headers["Location"]

    untyped = {**version, field: more, "Upload-Offset": "2", "Content-Type": "text/plain"}
    appended = talker.ask("PATCH", url, untyped, b"2")
    assert appended.status_code == (415 if typed else 204)
    offset = 2 if typed else 3
    asked = talker.ask("HEAD", url, version)
    assert (asked.headers["Upload-Offset"], asked.headers[field]) == (str(offset), more)

    media = {**version, "Content-Type": PARTIAL_TYPE}
    wrong = talker.ask("PATCH", url, {**media, field: more, "Upload-Offset": "9"}, b"x")
    assert (wrong.status_code, wrong.headers[field]) == (409, more)
    rest = b"01234"[offset:]
    here = {**media, "Upload-Offset": str(offset), "Upload-Length": "5"}
    reached = talker.ask("PATCH", url, {**here, field: more}, rest)
    if not by_length:
        assert (reached.status_code, reached.headers[field]) == (204, more)
        ending = {**media, "Upload-Offset": "5", field: end}
        reached = talker.ask("PATCH", url, ending)
    assert (reached.status_code, reached.headers[field]) == (200, end)
    check_stored(talker, reached.text, b"01234")


def test_an_append_of_version_3_that_says_nothing_is_the_last_one(make: Makes) -> None:
    talker = make()
    version = {"Upload-Draft-Interop-Version": "3"}
    url = talker.ask("POST", UPLOADS, {**version, "Upload-Incomplete": "?1"}).headers["Location"]
    ended = talker.ask("PATCH", url, {**version, "Upload-Offset": "0"}, b"01234")
    assert (ended.status_code, ended.headers["Upload-Incomplete"]) == (200, "?0")
    check_stored(talker, ended.text, b"01234")


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ({"Upload-Complete": "?1"}, True),
        ({"Upload-Complete": "?1", "Upload-Length": "5"}, True),
        ({"Upload-Complete": "nonsense"}, True),
        ({"Upload-Incomplete": "?0", "Upload-Draft-Interop-Version": "3"}, True),
        ({"Upload-Complete": "?0"}, False),
        ({"Upload-Complete": "?0", "Upload-Length": "10"}, False),
        ({"Upload-Incomplete": "?1", "Upload-Draft-Interop-Version": "3"}, False),
    ],
)
def test_an_ordinary_upload_that_could_go_on_is_one_if_it_is_whole(
    make: Makes, headers: Mapping[str, str], stored: bool
) -> None:
    # Section "Upgrading to Resumable Uploads": who doesn't offer it ignores that it was asked for.
    talker = make()
    answer = talker.ask("PUT", "/api/internal/upload/file.bin", headers, b"01234")
    if stored:
        assert answer.status_code == 201
        check_stored(talker, answer.text, b"01234")
    else:
        assert (answer.status_code, slug_of(answer)) == (400, "partial-file")
        assert UPLOADS in answer.json()["detail"]
        assert files_of(talker) == []


def test_an_upload_begun_in_tus_goes_on_in_the_draft(make: Makes) -> None:
    talker = make()
    tus = Tus(talker.agent, talker.claims, talker.base)
    url = tus.created(10)
    assert tus.append(url, 0, b"01234").status_code == 204
    assert _state(talker.head(url)) == (204, "5", "?0")
    ended = talker.append(url, 5, b"56789", complete=True)
    check_stored(talker, ended.text, b"0123456789")
