"""Commands of hooks: bounded in time and output, and nothing of them stays behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from agent.hooks.command import Ran, run
from agent.host.supervised_thread import Pulse
from agent.outbox.events import DONE
from tests.support.loopback import wait_until

PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


def _sh(text: str, stopping: threading.Event, timeout: float = 60, sent: bytes = b"") -> Ran:
    return run(["sh", "-c", text], PATH, sent, Pulse(stopping), timeout)


def test_a_success_is_one_and_its_output_is_kept(stopping: threading.Event) -> None:
    assert _sh("cat; echo more >&2", stopping, sent=b"told ") == Ran(DONE, "told more\n")


def test_only_the_end_of_much_output_is_kept(stopping: threading.Event) -> None:
    ran = _sh("seq 1 300000; echo the end", stopping)
    assert ran.outcome == DONE
    assert ran.output.endswith("300000\nthe end\n")
    assert len(ran.output) == 2048


def test_a_command_that_reads_nothing_is_fine(stopping: threading.Event) -> None:
    assert _sh("exec <&-; true", stopping, sent=b"x" * 60_000).outcome == DONE


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("exit 3", "exit code 3"),
        ("echo why; exit 1", "exit code 1: why"),
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("printf '\\377'; exit 1", "exit code 1: \ufffd"),
    ],
)
def test_a_failure_says_how(stopping: threading.Event, text: str, error: str) -> None:
    outcome = _sh(text, stopping).outcome
    assert (outcome.result, outcome.error) == ("failed", error)


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(
    stopping: threading.Event, tmp_path: Path
) -> None:
    began = time.monotonic()
    # Time enough for the shell to begin.
    ran = _sh(f"trap '' TERM; sleep 77 & echo $! > {tmp_path}/child; wait", stopping, timeout=3)
    assert time.monotonic() - began < 60
    assert ran.outcome.error == "still ran after 3 s"
    _wait_until_dead((tmp_path / "child").read_text())


def test_what_a_command_leaves_running_ends_with_it(
    stopping: threading.Event, tmp_path: Path
) -> None:
    # It holds the output open: whoever waits for its end waits for ever.
    ran = _sh(f"sleep 77 & echo $! > {tmp_path}/child; echo done", stopping)
    assert (ran.outcome, ran.output) == (DONE, "done\n")
    _wait_until_dead((tmp_path / "child").read_text())


def test_a_command_that_closes_its_output_is_waited_for(stopping: threading.Event) -> None:
    assert _sh("exec >&- 2>&-; sleep 0.3; exit 4", stopping).outcome.error == "exit code 4"


def test_a_stop_interrupts_and_is_no_failure_of_the_command(stopping: threading.Event) -> None:
    threading.Timer(0.3, stopping.set).start()
    began = time.monotonic()
    assert _sh("sleep 77", stopping).interrupted
    assert time.monotonic() - began < 60


def test_a_running_command_shows_life(stopping: threading.Event) -> None:
    beats: list[float] = []

    class Noting(Pulse):
        def beat(self) -> None:
            beats.append(time.monotonic())

    run(["sleep", "2"], PATH, b"", Noting(stopping))
    # Every half second; fewer on a computer that is busy, but not only when it begins.
    assert len(beats) >= 2
    assert beats[-1] - beats[0] > 0.4


def test_a_command_that_can_not_be_run_says_why(stopping: threading.Event) -> None:
    ran = run(["/no/such/program"], PATH, b"", Pulse(stopping))
    assert ran.outcome.error.startswith("can't be run: [Errno 2]")


def _wait_until_dead(pid: str) -> None:
    """Wait until a process is gone or a zombie: it may take a moment to die."""

    def dead() -> bool:
        try:
            stat = Path(f"/proc/{pid.strip()}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True
        return stat.rpartition(")")[2].split()[0] == "Z"

    wait_until(dead)
