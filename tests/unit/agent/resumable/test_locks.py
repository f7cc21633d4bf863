"""A newer request ends an older one at the same upload, and waits until it has ended."""

from __future__ import annotations

import threading

import pytest

from agent.host.spare_threads import SpareThreads
from agent.problems import ProblemError
from agent.resumable import locks
from agent.resumable.locks import UploadLocks


def _nothing() -> None:
    pass


def test_a_newer_request_interrupts_the_older_and_comes_after_it() -> None:
    held, interrupted = threading.Event(), threading.Event()
    busy, order = UploadLocks(SpareThreads()), []

    def older() -> None:
        with busy.alone("a", interrupted.set):
            held.set()
            assert interrupted.wait(60)
            order.append("older ends")

    thread = threading.Thread(target=older)
    thread.start()
    assert held.wait(60)
    assert busy.is_held("a")
    with busy.alone("a", _nothing):
        order.append("newer begins")
    thread.join()
    assert order == ["older ends", "newer begins"]
    assert not busy.is_held("a")


def test_different_uploads_do_not_wait_for_each_other() -> None:
    busy = UploadLocks(SpareThreads())
    with busy.alone("a", _nothing), busy.alone("b", _nothing):
        assert busy.is_held("a")
        assert busy.is_held("b")


def test_an_older_request_that_does_not_end_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TAKEOVER", 0.05)
    busy = UploadLocks(SpareThreads())
    with (
        busy.alone("a", _nothing),
        pytest.raises(ProblemError) as refused,
        busy.alone("a", _nothing),
    ):
        raise AssertionError
    assert refused.value.slug == "upload-locked"


def test_a_request_that_fails_lets_go() -> None:
    busy = UploadLocks(SpareThreads())
    with pytest.raises(LookupError), busy.alone("a", _nothing):
        raise LookupError
    assert not busy.is_held("a")


def test_a_request_of_another_process_is_asked_to_end_and_waited_for() -> None:
    there, asked = ["a"], []

    def take_over(upload_id: str) -> bool:
        asked.append(upload_id)
        if len(asked) == 3:
            there.clear()
        return upload_id in there

    busy = UploadLocks(SpareThreads(), lambda upload_id: upload_id in there, take_over)
    assert busy.is_held("a")
    assert not asked
    with busy.alone("a", _nothing):
        assert not there
        assert asked == ["a"] * 3


def test_one_of_another_process_that_does_not_end_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(locks, "TAKEOVER", 0.05)
    busy = UploadLocks(SpareThreads(), take_over=lambda _: True)
    with pytest.raises(ProblemError) as refused, busy.alone("a", _nothing):
        raise AssertionError
    assert refused.value.slug == "upload-locked"
    assert not busy.is_held("a")
