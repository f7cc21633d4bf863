"""Finals of parts that don't fit together: refused, and the parts are still there."""

from __future__ import annotations

import os

import pytest
import requests

from tests.support.agent.process import Agent, slug_of
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of, heard
from tests.support.protocol.requests_by_hand import TUS_MEDIA, UPLOADS, Tus

CONTENT = bytes(16) + os.urandom(84)


def _part(talker: Tus, content: bytes, length: int | None = None) -> str:
    size = len(content) if length is None else length
    headers = {"Upload-Concat": "partial", "Content-Type": TUS_MEDIA}
    created = talker.create(size, headers, content)
    assert created.status_code == 201, created.text
    return created.headers["Location"]


def _final(talker: Tus, *urls: str, **headers: str) -> requests.Response:
    sent = {"Upload-Concat": "final;" + " ".join(urls), "Upload-Defer-Length": None}
    return talker.create(None, {**sent, **headers})


@pytest.fixture
def parts(tus: Tus) -> list[str]:
    """Two parts, complete."""
    return [_part(tus, CONTENT[:60]), _part(tus, CONTENT[60:])]


def _still_good(talker: Tus, parts: list[str]) -> None:
    assert files_of(talker) == []
    check_stored(talker, _final(talker, *parts).text, CONTENT)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "parts",
        "final",
        "final;",
        "final; ",
        "partial;x",
        "final;nonsense",
        "FINAL;x",
        "final x",
    ],
)
def test_a_concatenation_that_can_not_be_read_is_refused(
    tus: Tus, parts: list[str], value: str
) -> None:
    headers = {"Upload-Concat": value, "Upload-Defer-Length": None}
    assert heard(tus.create(None, headers)) == (400, "malformed-request")
    _still_good(tus, parts)


def test_a_part_that_is_not_there_is_unknown(tus: Tus, parts: list[str]) -> None:
    final = _final(tus, parts[0], f"{UPLOADS}/{'0' * 32}")
    assert heard(final) == (404, "upload-unknown")
    _still_good(tus, parts)


def test_another_tokens_part_is_unknown(tus: Tus, parts: list[str], shared: Agent) -> None:
    stranger = Tus(shared)
    foreign = _part(stranger, b"x")
    assert heard(_final(tus, parts[0], foreign)) == (404, "upload-unknown")
    _still_good(tus, parts)
    stranger.end_all()


def test_a_part_that_is_not_whole_is_waited_for(tus: Tus) -> None:
    whole, cut = _part(tus, CONTENT[:60]), _part(tus, CONTENT[60:90], length=40)
    assert heard(_final(tus, whole, cut)) == (409, "parts-incomplete")
    assert tus.append(cut, 30, CONTENT[90:]).status_code == 204
    _still_good(tus, [whole, cut])


def test_a_part_of_unknown_length_has_no_place_in_the_file(tus: Tus, parts: list[str]) -> None:
    # Where a part lies is the sum of the lengths before it.
    created = tus.create(None, {"Upload-Concat": "partial"})
    assert heard(created) == (400, "malformed-request")
    _still_good(tus, parts)


def test_a_part_can_not_be_used_twice(tus: Tus, parts: list[str]) -> None:
    assert heard(_final(tus, parts[0], parts[1], parts[0])) == (400, "malformed-request")
    _still_good(tus, parts)


def test_a_final_has_no_body_and_no_length_of_its_own(tus: Tus, parts: list[str]) -> None:
    lengthy = _final(tus, *parts, **{"Upload-Length": "101"})
    assert heard(lengthy) == (400, "malformed-request")
    headers = {"Upload-Concat": "final;" + " ".join(parts), "Upload-Defer-Length": None}
    assert heard(tus.create(None, headers, b"body")) == (400, "malformed-request")
    _still_good(tus, parts)


def test_parts_may_be_joined_in_any_order(tus: Tus, parts: list[str]) -> None:
    turned = _final(tus, parts[1], parts[0])
    assert turned.status_code == 201
    check_stored(tus, turned.text, CONTENT[60:] + CONTENT[:60])


def test_parts_that_no_final_names_are_left_out(tus: Tus, parts: list[str]) -> None:
    # The answer to a part's creation may get lost: its client creates it again.
    lost = _part(tus, b"lost", length=1000)
    _still_good(tus, parts)
    refused = tus.append(lost, 4, b"x")
    assert (refused.status_code, slug_of(refused)) == (403, "upload-complete")


def test_a_final_that_is_asked_for_again_is_the_same_file(tus: Tus, parts: list[str]) -> None:
    first, second = _final(tus, *parts), _final(tus, *parts)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.headers["Location"] == second.headers["Location"]
    stored = check_stored(tus, first.text, CONTENT)
    assert check_stored(tus, second.text, CONTENT) == stored
    # A client that starts again asks for its parts first.
    assert [tus.offset(url) for url in parts] == [60, 40]


def test_parts_are_held_to_the_tokens_size_together(shared: Agent) -> None:
    talker = Tus(shared, max_size=100)
    part = _part(talker, CONTENT[:60])
    past = talker.create(41, {"Upload-Concat": "partial"})
    assert heard(past) == (413, "too-large")
    check_stored(talker, _final(talker, part).text, CONTENT[:60])
    exact = Tus(shared, size=100)
    short = _part(exact, CONTENT[:60])
    assert heard(_final(exact, short)) == (400, "size-mismatch")
    exact.end_all()
    check_nothing_left_behind(shared)


def test_one_token_makes_parts_or_a_whole_never_both(tus: Tus) -> None:
    url = tus.created(10)
    part = tus.create(5, {"Upload-Concat": "partial"})
    assert part.status_code == 409
    assert slug_of(part) in ("upload-in-progress", "token-used")
    assert tus.offset(url) == 0
