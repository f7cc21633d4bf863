"""One token, one file: sent again it is the same file with the same receipt, never a second one."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import requests

from portside.quantities import MIB
from tests.support.agent.process import Agent, slug_of
from tests.support.protocol.checks import check_nothing_left_behind, check_stored
from tests.support.protocol.requests_by_hand import Ietf, Talker, Tus

CONTENT = bytes(16) + os.urandom(1000)
Send = Callable[[Talker, bytes], requests.Response]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(shared: Agent) -> Iterator[None]:
    yield
    check_nothing_left_behind(shared)


def _by_put(talker: Talker, content: bytes) -> requests.Response:
    return talker.agent.put("file.bin", content, talker.token)


def _by_chunked_put(talker: Talker, content: bytes) -> requests.Response:
    return talker.agent.put("file.bin", iter([content[:10], content[10:]]), talker.token)


def _by_form(talker: Talker, content: bytes) -> requests.Response:
    return talker.agent.post("file.bin", content, talker.token)


def _by_tus(talker: Talker, content: bytes) -> requests.Response:
    return Tus(talker.agent, talker.claims).create(len(content), body=content)


def _by_draft(talker: Talker, content: bytes) -> requests.Response:
    return Ietf(talker.agent, talker.claims).create(len(content), True, body=content)


WHOLE = [_by_put, _by_chunked_put, _by_form]
RESUMABLE = [_by_tus, _by_draft]
WAYS = [*WHOLE, *RESUMABLE]


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", WAYS)
def test_a_file_that_is_sent_twice_is_stored_once_with_one_receipt(
    shared: Agent, first: Send, second: Send
) -> None:
    talker = Talker(shared)
    before = first(talker, CONTENT)
    assert before.status_code == 201, before.text
    stored = check_stored(talker, before.text, CONTENT)
    again = second(talker, CONTENT)
    if first in WHOLE and second in RESUMABLE:
        # There is no upload that its Location could name: the problem names the file.
        assert (again.status_code, slug_of(again)) == (409, "token-used")
        check_stored(talker, before.text, CONTENT)
    else:
        assert again.status_code in (200, 201), again.text
        assert check_stored(talker, again.text, CONTENT) == stored


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize(
    "other",
    [
        pytest.param(CONTENT + b"x", id="longer"),
        pytest.param(CONTENT[:-1], id="shorter"),
        pytest.param(CONTENT[:-1] + b"\x00", id="as long"),
    ],
)
def test_other_content_under_a_used_token_is_a_conflict(
    shared: Agent, second: Send, other: bytes
) -> None:
    talker = Talker(shared)
    stored = check_stored(talker, _by_put(talker, CONTENT).text, CONTENT)
    again = second(talker, other)
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    check_stored(talker, stored.model_dump_json(), CONTENT)


@pytest.mark.parametrize("second", WAYS)
@pytest.mark.parametrize("first", RESUMABLE)
def test_other_content_of_the_same_length_is_no_repetition(
    shared: Agent, first: Send, second: Send
) -> None:
    talker = Talker(shared)
    stored = check_stored(talker, first(talker, CONTENT).text, CONTENT)
    again = second(talker, CONTENT[:-1] + b"\x00")
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    check_stored(talker, stored.model_dump_json(), CONTENT)


@pytest.mark.parametrize("send", WAYS)
def test_of_two_at_the_same_moment_one_wins_and_the_other_hears_it_at_once(
    shared: Agent, send: Send
) -> None:
    talker = Talker(shared)
    content = bytes(1 * MIB)
    with closing(shared.open_put("file.bin", len(content), talker.token)) as running:
        shared.wait_for_uploads(1)
        other = send(talker, content)
        assert (other.status_code, slug_of(other)) == (409, "upload-in-progress")
        running.sendall(content)
        running.shutdown(socket.SHUT_WR)
        won = running.makefile("rb").read()
        assert won.startswith(b"HTTP/1.1 201 "), won
        check_stored(talker, won.partition(b"\r\n\r\n")[2], content)


def test_the_second_of_two_hears_it_before_it_has_sent_its_body(shared: Agent) -> None:
    token = shared.mint()
    with closing(shared.open_put("file.bin", 1 * MIB, token)):
        shared.wait_for_uploads(1)
        with closing(shared.open_put("file.bin", 1 * MIB, token)) as late:
            answer = late.makefile("rb").readline()
    assert answer.startswith(b"HTTP/1.1 409 ")


def test_while_a_resumable_upload_is_open_its_token_begins_no_other(shared: Agent) -> None:
    tus = Tus(shared)
    url = tus.created(len(CONTENT))
    for send in (_by_put, _by_form):
        other = send(tus, CONTENT)
        assert (other.status_code, slug_of(other)) == (409, "upload-in-progress")
    check_stored(tus, tus.append(url, 0, CONTENT).text, CONTENT)


def test_a_creation_whose_answer_was_lost_is_created_once(shared: Agent) -> None:
    for talker in (Tus(shared), Ietf(shared)):
        first, second = talker.create(len(CONTENT)), talker.create(len(CONTENT))
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.headers["Location"] == second.headers["Location"]
        other = talker.create(len(CONTENT) + 1)
        assert (other.status_code, slug_of(other)) == (409, "token-used")
        talker.end_all()


@pytest.mark.parametrize("cut", [0, 10, len(CONTENT) - 1])
def test_a_creation_with_upload_that_was_cut_goes_on_where_it_is(shared: Agent, cut: int) -> None:
    tus = Tus(shared)
    url = tus.created(len(CONTENT))
    assert tus.append(url, 0, CONTENT[:cut]).status_code == 204
    # The client never heard of the URL: it sends everything again.
    again = tus.create(len(CONTENT), body=CONTENT)
    assert (again.status_code, again.headers["Location"]) == (201, url)
    offset = int(again.headers["Upload-Offset"])
    assert offset >= cut
    if offset == len(CONTENT):
        check_stored(tus, again.text, CONTENT)
    else:
        check_stored(tus, tus.append(url, offset, CONTENT[offset:]).text, CONTENT)


def test_a_token_whose_upload_was_terminated_can_be_used_again(shared: Agent) -> None:
    tus = Tus(shared)
    url = tus.created(10)
    assert tus.delete(url).status_code == 204
    check_stored(tus, _by_put(tus, CONTENT).text, CONTENT)
