"""Uploads that are unknown, another's, finished, terminated or past their session."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.agent.process import Agent, slug_of
from tests.support.agent.worker_process import Worker
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of, heard
from tests.support.protocol.requests_by_hand import TUS_MEDIA, UPLOADS, Connection, Tus

UNKNOWN = f"{UPLOADS}/{'0' * 32}"


@pytest.mark.parametrize("method", ["HEAD", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "place",
    [
        UNKNOWN,
        f"{UPLOADS}/{'0' * 31}",
        f"{UPLOADS}/{'0' * 33}",
        f"{UPLOADS}/{'Z' * 32}",
        f"{UPLOADS}/..%2f..%2fetc%2fpasswd",
        f"{UPLOADS}/%2e%2e/staging",
        f"{UPLOADS}/{'0' * 32}/x",
        f"{UPLOADS}/%00",
        f"{UPLOADS}/{'%C3%BC' * 16}",
    ],
)
def test_an_unknown_upload_is_not_found(shared: Agent, method: str, place: str) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": TUS_MEDIA, "Upload-Offset": "0"}
    response = Tus(shared).ask(method, place, headers, b"x" if method == "PATCH" else None)
    assert response.status_code == 404
    assert response.headers["Content-Type"] == "application/problem+json"
    if method != "HEAD":
        assert slug_of(response) in ("upload-unknown", "not-found")


def test_a_path_that_climbs_is_not_found(shared: Agent) -> None:
    # requests would tidy the path up: this is what a hostile client sends.
    for place in (f"{UPLOADS}/../../../etc/passwd", f"{UPLOADS}/../uploads/{'0' * 32}"):
        connection = Connection(Tus(shared), "DELETE", place, {"Tus-Resumable": "1.0.0"})
        assert connection.answer().status == 404
        connection.close()


def test_another_tokens_upload_is_unknown(tus: Tus, shared: Agent) -> None:
    url = tus.created(10)
    stranger = Tus(shared)
    assert stranger.head(url).status_code == 404
    assert heard(stranger.append(url, 0, b"x")) == (404, "upload-unknown")
    assert heard(stranger.delete(url)) == (404, "upload-unknown")
    assert tus.offset(url) == 0


def test_a_terminated_upload_is_gone(tus: Tus) -> None:
    url = tus.created(10)
    assert tus.append(url, 0, b"01234").status_code == 204
    assert tus.delete(url).status_code == 204
    assert tus.head(url).status_code == 410
    assert heard(tus.append(url, 5, b"x")) == (410, "upload-expired")
    assert heard(tus.delete(url)) == (410, "upload-expired")


def test_a_finished_upload_takes_no_more_and_is_not_taken_away(tus: Tus) -> None:
    url = tus.created(1)
    stored = check_stored(tus, tus.append(url, 0, b"x").text, b"x")
    assert heard(tus.append(url, 1, b"y")) == (403, "upload-complete")
    assert heard(tus.append(url, 0, b"y")) == (403, "upload-complete")
    assert heard(tus.delete(url)) == (403, "upload-complete")
    assert tus.offset(url) == 1
    check_stored(tus, stored.model_dump_json(), b"x")


def _late(talker: Tus) -> Tus:
    past = int(time.time()) - 120
    return talker.again(exp=past, session_deadline=past)


def test_a_session_that_has_ended_is_not_resumed(tus: Tus) -> None:
    url = tus.created(10)
    late = _late(tus)
    assert late.head(url).status_code == 410
    assert heard(late.append(url, 0, b"x")) == (410, "upload-expired")
    assert heard(late.delete(url)) == (410, "upload-expired")
    assert tus.offset(url) == 0


def test_an_upload_ends_with_its_session(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent()
    agent.start()
    talker = Tus(agent)
    url = talker.created(10)
    assert talker.append(url, 0, b"01234").status_code == 204
    worker = Worker(agent)
    # As if its session had been a short one: the leeway forgives 60 s.
    worker.change("UPDATE uploads SET deadline = ?", int(time.time()) - 61)
    prolonged = talker.again(session_deadline=int(time.time()) + 3600)
    assert prolonged.head(url).status_code == 410
    assert heard(prolonged.append(url, 5, b"56789")) == (410, "upload-expired")
    assert files_of(talker) == []
    worker.start()
    check_nothing_left_behind(agent)
    assert prolonged.head(url).status_code == 410
    worker.stop()
