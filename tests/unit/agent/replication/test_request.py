"""What a push's request says of itself, or that it can't be understood."""

from __future__ import annotations

import pytest

from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError
from agent.replication.request import Range, ReplicateRequest, replicate_request

DIGEST = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"


def _environ(**changed: str) -> dict[str, str]:
    return {
        "REQUEST_METHOD": "PUT",
        "RAW_URI": "/api/internal/replicate/isos/a.bin",
        "CONTENT_LENGTH": "5",
        "HTTP_AUTHORIZATION": "Bearer t",
        **changed,
    }


def _asked(**changed: str) -> ReplicateRequest:
    return replicate_request(RequestHead.of_request(_environ(**changed)))


def _slug(**changed: str) -> str:
    with pytest.raises(ProblemError) as refused:
        _asked(**changed)
    return refused.value.slug


def test_the_path_is_decoded_once() -> None:
    asked = _asked(RAW_URI="/api/internal/replicate/isos/%C3%A4%2525.bin?x=1")
    assert asked.path == "isos/ä%25.bin"


def test_a_path_that_is_no_text_is_refused() -> None:
    assert _slug(RAW_URI="/api/internal/replicate/isos/%FF") == "path-refused"


@pytest.mark.parametrize(
    ("field", "length", "meant"),
    [
        ("bytes 0-4/5", "5", Range(0, 5, 5)),
        ("bytes 5-9/20", "5", Range(5, 5, 20)),
        ("bytes */20", "0", Range(None, 0, 20)),
        ("bytes */0", "0", Range(None, 0, 0)),
    ],
)
def test_a_range_says_which_bytes_come(field: str, length: str, meant: Range) -> None:
    asked = _asked(HTTP_CONTENT_RANGE=field, CONTENT_LENGTH=length)
    assert asked.range == meant


@pytest.mark.parametrize(
    "field",
    [
        *("bytes 0-5/5", "bytes 4-0/5", "bytes 0-3/5", "bytes 0-4/*", "bytes */5", "bytes=0-4"),
        *(
            "bytes 0-4/5, 5-9/10",
            "lines 0-4/5",
            "bytes 0-4/\N{ARABIC-INDIC DIGIT FIVE}",
            "bytes 0-4/" + "9" * 30,
        ),
    ],
)
def test_a_range_that_can_not_be_is_refused(field: str) -> None:
    assert _slug(HTTP_CONTENT_RANGE=field) == "malformed-request"


@pytest.mark.parametrize("length", ["-1", "\N{ARABIC-INDIC DIGIT FIVE}", "5x", "9" * 30])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    assert _slug(CONTENT_LENGTH=length) == "malformed-request"


def test_a_body_without_a_length_is_refused() -> None:
    assert _slug(CONTENT_LENGTH="") == "length-required"
    assert _slug(HTTP_TRANSFER_ENCODING="chunked") == "length-required"


def test_the_digest_is_that_of_the_whole_file() -> None:
    asked = _asked(HTTP_REPR_DIGEST=DIGEST)
    assert asked.sha256 is not None
    assert asked.sha256.startswith("e3b0c442")
    assert _asked().sha256 is None
    assert _slug(HTTP_REPR_DIGEST="md5=:AA==:") == "malformed-request"


def test_only_a_put_has_a_body() -> None:
    asked = _asked(REQUEST_METHOD="HEAD", CONTENT_LENGTH="")
    assert (asked.length, asked.range) == (0, None)


def test_nginxs_question_has_the_same_asked() -> None:
    environ = {
        "HTTP_X_ORIGINAL_METHOD": "PUT",
        "HTTP_X_ORIGINAL_URI": "/api/internal/replicate/isos/a.bin",
        "HTTP_X_ORIGINAL_CONTENT_LENGTH": "5",
        "HTTP_AUTHORIZATION": "Bearer t",
        "HTTP_REPR_DIGEST": DIGEST,
    }
    assert replicate_request(RequestHead.of_question(environ)) == _asked(HTTP_REPR_DIGEST=DIGEST)
