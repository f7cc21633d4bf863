"""A thread shows that it lives, ends when it is told to, and never fails in silence."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from agent.host import supervised_thread
from agent.host.supervised_thread import Pulse, SupervisedThread, patiently
from tests.support.loopback import wait_until


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


def test_a_long_wait_shows_life_and_ends_with_the_worker(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_thread, "_SLICE", 0.05)
    beats: list[None] = []

    class Noting(Pulse):
        def beat(self) -> None:
            beats.append(None)

    waiting = threading.Thread(target=Noting(stopping).wait, args=(600,))
    waiting.start()
    wait_until(lambda: len(beats) >= 3)
    stopping.set()
    waiting.join(timeout=60)
    assert not waiting.is_alive()


def test_a_pulse_grows_old_without_a_beat(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("agent.host.supervised_thread.time.monotonic", lambda: now)
    pulse = Pulse(stopping)
    now = 107.5
    assert pulse.age() == 7.5
    pulse.beat()
    assert pulse.age() == 0


def _fails(pulse: Pulse) -> None:
    raise RuntimeError("broken")


def _returns(pulse: Pulse) -> None:
    return


@pytest.mark.parametrize("work", [_fails, _returns])
def test_an_activity_that_ends_by_itself_stops_the_worker(
    stopping: threading.Event, work: supervised_thread.Work
) -> None:
    activity = SupervisedThread("one", work, stopping)
    activity.start()
    assert stopping.wait(60)
    assert activity.ended(60)
    assert activity.failed


def test_an_activity_that_is_told_to_end_has_not_failed(stopping: threading.Event) -> None:
    activity = SupervisedThread("one", lambda pulse: pulse.wait(600), stopping)
    activity.start()
    assert not activity.ended(0.1)
    stopping.set()
    assert activity.ended(60)
    assert not activity.failed


def test_what_a_full_database_did_not_take_is_written_again(
    stopping: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervised_thread, "_PAUSE", 0.01)
    answers = iter([sqlite3.OperationalError("database or disk is full"), None])

    def write() -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    assert patiently(Pulse(stopping), write)
    assert next(answers, "all taken") == "all taken"


def test_a_stop_ends_the_patience(stopping: threading.Event) -> None:
    def write() -> None:
        raise sqlite3.OperationalError("database is locked")

    stopping.set()
    assert not patiently(Pulse(stopping), write)
