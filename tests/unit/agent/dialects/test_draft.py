"""The draft's fields are structured ones, and what differs between its versions is told apart."""

from __future__ import annotations

from typing import Any

import pytest

from agent.dialects import draft
from agent.dialects.request import ResumableRequest, resumable_request
from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError


def _head(method: str = "PATCH", **headers: str) -> RequestHead:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "RAW_URI": "/api/v1/uploads"}
    environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return RequestHead.of_request(environ)


def _asked(method: str = "PATCH", **headers: str) -> ResumableRequest:
    return resumable_request(_head(method, **headers))


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("5", 5),
        ("0", 0),
        ("-0", 0),
        ("005", 5),
        (" 5 ", 5),
        ("5;checked", 5),
        ("5;a=1;b=x", 5),
        ("9" * 15, 10**15 - 1),
        # RFC 9651, section 3.3.1: fifteen digits at most.
        ("9" * 16, None),
        ("-1", None),
        ("+5", None),
        ("5.0", None),
        ("5, 5", None),
        ("5 5", None),
        ('"5"', None),
        ("?1", None),
        ("x", None),
        ("0x5", None),
        ("5;a=b c", None),
        ("\xb2", None),
        ("", None),
    ],
)
def test_a_number_of_bytes_is_an_integer_or_ignored(value: str, number: int | None) -> None:
    assert draft.whole_number(value) == number
    asked = _asked(upload_complete="?0", upload_offset=value, upload_length=value)
    assert (asked.offset, asked.length) == (number, number)


@pytest.mark.parametrize(
    ("value", "complete"),
    [
        ("?1", True),
        ("?0", False),
        ("?1;x", True),
        ("?0;x=1", False),
        ("?2", None),
        ("?01", None),
        ("1", None),
        ("true", None),
        ("?1, ?1", None),
        ("?", None),
        ("?1;a=b c", None),
    ],
)
def test_completeness_is_a_boolean_or_ignored(value: str, complete: bool | None) -> None:
    asked = _asked(upload_complete=value)
    assert (asked.dialect, asked.complete) == ("ietf", complete)


@pytest.mark.parametrize("number", ["4", "5", "6", "7", "8", "9"])
def test_a_version_that_is_known_is_named_in_the_answer(number: str) -> None:
    version = draft.version_of(_head(upload_draft_interop_version=number))
    assert version.number == number
    assert version.told(complete=True) == ("Upload-Complete", "?1")


@pytest.mark.parametrize("number", ["", "2", "10", "99", "06", "6.0", "x", "6, 6"])
def test_a_version_that_nobody_knows_is_read_as_the_newest(number: str) -> None:
    version = draft.version_of(_head(upload_draft_interop_version=number))
    assert version == draft.version_of(_head())
    assert (version.number, version.length_is_end) == (None, False)


@pytest.mark.parametrize("headers", [{}, {"upload_draft_interop_version": "3"}])
def test_version_3_says_it_the_other_way_round(headers: dict[str, str]) -> None:
    asked = _asked(upload_incomplete="?1", **headers)
    assert (asked.dialect, asked.version.number, asked.complete) == ("ietf", "3", False)
    assert _asked(upload_incomplete="?0", **headers).complete is True
    assert asked.version.told(complete=True) == ("Upload-Incomplete", "?0")
    assert asked.version.told(complete=False) == ("Upload-Incomplete", "?1")


def test_an_append_of_version_3_that_says_nothing_is_the_last_one() -> None:
    silent = {"upload_draft_interop_version": "3"}
    assert _asked("PATCH", **silent).complete is True
    assert _asked("POST", **silent).complete is None
    assert _asked("PATCH", upload_draft_interop_version="4").complete is None


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE"])
@pytest.mark.parametrize("field", ["upload_offset", "upload_complete", "upload_incomplete"])
def test_who_asks_for_the_offset_tells_none(method: str, field: str) -> None:
    with pytest.raises(ProblemError) as refused:
        _asked(method, **{field: "?1"})
    assert refused.value.slug == "malformed-request"
    assert _asked(method, tus_resumable="1.0.0", upload_offset="5").dialect == "tus"


@pytest.mark.parametrize(
    ("slug", "status", "type_"),
    [
        ("offset-mismatch", 409, "https://iana.org/assignments/http-problem-types#mismatching"),
        ("size-mismatch", 400, "https://iana.org/assignments/http-problem-types#inconsistent-"),
        ("upload-complete", 400, "https://iana.org/assignments/http-problem-types#completed-"),
        ("checksum-mismatch", 400, "https://iana.org/assignments/http-problem-types#digest-mis"),
        ("too-large", 413, "urn:portside:problem:too-large"),
        ("media-type", 415, "urn:portside:problem:media-type"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_draft(slug: Any, status: int, type_: str) -> None:
    with pytest.raises(ProblemError) as refused, draft.refusals(_head(upload_complete="?1")):
        raise ProblemError(slug, "a reason", {"Upload-Offset": "5"}, {"expected-offset": 5})
    problem = refused.value
    document = problem.document("/").model_dump()
    assert (problem.slug, problem.status, document["status"]) == (slug, status, status)
    assert document["type"].startswith(type_)
    assert document["expected-offset"] == 5
    assert problem.headers["Upload-Offset"] == "5"
    assert problem.headers["Upload-Complete"] == "?0"
    assert problem.headers.get("Accept-Patch") == (draft.PARTIAL_TYPE if status == 415 else None)


def test_a_refusal_of_version_3_is_told_the_other_way_round() -> None:
    head = _head(upload_draft_interop_version="3")
    with pytest.raises(ProblemError) as refused, draft.refusals(head):
        raise ProblemError("upload-expired", "a reason")
    assert refused.value.headers == {"Upload-Incomplete": "?1"}


def test_a_refusal_in_tus_stays_what_it_is() -> None:
    head = _head(tus_resumable="1.0.0", upload_complete="?1")
    with pytest.raises(ProblemError) as refused, draft.refusals(head):
        raise ProblemError("upload-complete", "a reason")
    assert (refused.value.status, refused.value.headers) == (403, {})
