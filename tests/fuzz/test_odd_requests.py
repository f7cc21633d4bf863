"""Whatever a client or a node sends gets an answer of its own; `make fuzz` sends more of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from fuzz import judging, rounds
from fuzz.exchange import Answer, Sent
from fuzz.place import Place, running


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(tmp_path_factory.mktemp("f")) as place:
        yield place


def test_every_odd_request_gets_an_answer_and_a_line_of_its_own(place: Place) -> None:
    faults = rounds.faults_of(place, rounds.requests_of(place, Random(1), 300))  # noqa: S311 (no secret)
    assert not faults.kinds, str(faults)
    assert faults.sent > 300


@pytest.mark.parametrize(
    ("status", "media_type", "body", "wrong"),
    [
        (500, "text/html", b"<html>", "500 in HTML"),
        (400, "text/plain", b"no", "400 as text/plain"),
        (400, judging.PROBLEM, b"no", "400 with a body that is no problem document"),
        (
            500,
            judging.PROBLEM,
            b'{"type":"a:internal-error","status":500,"detail":"x"}',
            "500 internal-error",
        ),
        (503, judging.PROBLEM, b'{"type":"a:no-slot","status":503,"detail":"x"}', ""),
        (200, "text/plain", b"yes", ""),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(
    status: int, media_type: str, body: bytes, wrong: str
) -> None:
    answer = Answer(status, {"content-type": media_type}, body)
    assert judging.wrong_with(Sent(0, b"GET / HTTP/1.1\r\n\r\n"), answer) == wrong


def test_a_line_that_is_no_json_and_a_failure_are_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b'{"path": "\x93"}\n{"event": "well"}\n{"exception": "Traceback"}\n')
    assert [line.partition(":")[0] for line in judging.wrong_lines(log)] == [
        "no JSON in UTF-8",
        "a failure",
    ]
